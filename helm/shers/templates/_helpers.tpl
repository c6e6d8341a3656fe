{{- define "shers.labels" -}}
app.kubernetes.io/name: shers
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "shers.name" -}}
{{- if contains "shers" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-shers" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "shers.secret" -}}
{{- .Values.existingSecret | default (printf "%s-secrets" (include "shers.name" .)) }}
{{- end }}

{{- define "shers.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "shers.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* The image of a service: (list root service). */ -}}
{{- define "shers.image" -}}
{{- $root := index . 0 }}{{ $service := index . 1 -}}
{{ printf "%s/%s:%s" $root.Values.image.registry $service (get $root.Values.image.tags $service | default $root.Values.image.tag) }}
{{- end }}

{{- /* Environment of every process of the house. */ -}}
{{- define "shers.env" -}}
- {name: SHERS_LISTEN, value: "0.0.0.0:8080"}
- {name: SHERS_LOG_FORMAT, value: json}
- name: SHERS_REPLICA
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: SHERS_AMQP__URL_FILE, value: /run/secrets/shers/amqp-url}
- {name: SHERS_DATABASE__URL_FILE, value: /run/secrets/shers/database-url}
- {name: SHERS_TOKEN_FILE, value: /run/secrets/shers/token}
- {name: SHERS_BILLING__INSURER_URL, value: {{ printf "http://%s-insurance:8080" (include "shers.name" .) | quote }}}
- {name: SHERS_EXERCISE, value: {{ .Values.exercise | quote }}}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
