"""The inference server: Open Inference Protocol v2 over the deployments of one node's directory.

``dataplane`` knows neither HTTP nor an engine; ``http`` only translates; ``engines`` run models. What is
loaded follows ``want.json`` (``lifecycle`` decides, ``loader`` acts). Nothing here imports the agent.
"""
