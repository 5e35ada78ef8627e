"""``edgewright-node {agent,server,trial}``. Each is imported only when asked: the agent has no ML runtime."""

import sys

USAGE = """usage: edgewright-node {agent,server,trial} [options]

  agent   follow this node's NodeAssignment: fetch, verify, try, swap, report
  server  serve the models of the node's directory (Open Inference Protocol v2)
  trial   verify, load and self-test one slot; prints the verdict as JSON

edgewright-node <command> --help says more."""


def main() -> int:
    """Run one command; 2 for one that is not known."""
    command, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if command == "agent":
        from edgewright_node.agent.__main__ import main as agent

        return agent()
    if command in ("server", "trial"):
        from edgewright_node.serving import __main__ as serving

        return serving.server(arguments) if command == "server" else serving.trial(arguments)
    wanted = command in ("-h", "--help")
    print(USAGE, file=sys.stdout if wanted else sys.stderr)
    return 0 if wanted else 2


if __name__ == "__main__":
    sys.exit(main())
