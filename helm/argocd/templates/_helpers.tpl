{{- define "argocd.labels" -}}
app.kubernetes.io/name: shers
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: shers
{{- end }}

{{- /* What is tried again by itself, and how often: five times within about a quarter of an hour, then a person looks. */ -}}
{{- define "argocd.retry" -}}
limit: 5
backoff: {duration: 15s, factor: 2, maxDuration: 5m}
{{- end }}
