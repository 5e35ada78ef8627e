{{/* Labels of every object. */}}
{{- define "edgewright.labels" -}}
{{ include "edgewright.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: edgewright
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels that never change, so that a Deployment's selector can hold them. */}}
{{- define "edgewright.selector" -}}
app.kubernetes.io/name: edgewright-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "edgewright.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "edgewright.gatewayUrl" -}}
{{ .Values.gateway.url | default (printf "https://edgewright-gateway.%s.svc:%v" .Release.Namespace .Values.gateway.service.port) }}
{{- end }}

{{/* The user name under which every node's agent speaks to the API server. */}}
{{- define "edgewright.nodeUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:edgewright-node
{{- end }}
