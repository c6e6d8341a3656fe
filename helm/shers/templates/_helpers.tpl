{{- define "shers.labels" -}}
app.kubernetes.io/name: shers
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* What is chosen by: never a version in here, for a new chart alone restarts no pod, least of all the database. */ -}}
{{- define "shers.podLabels" -}}
app.kubernetes.io/name: shers
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "shers.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "shers.name" -}}
{{- if contains "shers" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-shers" (.Release.Name | trunc 34 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "shers.secret" -}}
{{- .Values.existingSecret | default (printf "%s-secrets" (include "shers.name" .)) }}
{{- end }}

{{- /* An image of the house: its own tag, else the tag of all. */ -}}
{{- define "shers.image" -}}
{{- printf "%s/%s:%s" .root.Values.image.registry .image (get .root.Values.image.tags .image | default .root.Values.image.tag) | quote }}
{{- end }}

{{- define "shers.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
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

{{- /* SIGTERM and the removal from the endpoints are sent at the same time; the pause lets the second arrive first. The
images need no shell for it, so it waits for a Kubernetes that sleeps by itself. */ -}}
{{- define "shers.lifecycle" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}
lifecycle: {preStop: {sleep: {seconds: 5}}}
{{- end }}
{{- end }}

{{- define "shers.spread" -}}
topologySpreadConstraints:
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "shers.selector" $ | nindent 8 }}
{{- end }}
{{- end }}

{{- /* Whether a service is rolled out by Argo Rollouts. */ -}}
{{- define "shers.isRollout" -}}
{{- if and .root.Values.rollouts.enabled (has .component .root.Values.rollouts.services) }}yes{{ end }}
{{- end }}

{{- /* Environment of every process of the house. */ -}}
{{- define "shers.env" -}}
- {name: SHERS_LISTEN, value: "0.0.0.0:8080"}
- {name: SHERS_LOG_FORMAT, value: json}
- name: SHERS_REPLICA
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: SHERS_AMQP__URL_FILE, value: /run/secrets/shers/amqp-url}
- {name: SHERS_DATABASE__URL_FILE, value: /run/secrets/shers/database-url}
{{- if .Values.jwt.enabled }}
- {name: SHERS_JWKS_FILE, value: /run/secrets/shers/jwks}
- {name: SHERS_JWT_ISSUER, value: {{ .Values.jwt.issuer | quote }}}
- {name: SHERS_JWT_AUDIENCE, value: {{ .Values.jwt.audience | quote }}}
- {name: SHERS_INSURER_TOKEN_FILE, value: /run/secrets/shers/insurer-token}
{{- else }}
- {name: SHERS_TOKEN_FILE, value: /run/secrets/shers/token}
{{- end }}
{{- if .Values.tls.authorities }}
- {name: SHERS_DATABASE__CA_FILE, value: /run/secrets/shers/database-ca}
- {name: SHERS_AMQP__CA_FILE, value: /run/secrets/shers/amqp-ca}
{{- end }}
- {name: SHERS_BILLING__INSURER_URL, value: {{ printf "http://%s-insurance:8080" (include "shers.name" .) | quote }}}
- {name: SHERS_EXERCISE, value: {{ .Values.exercise | quote }}}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "shers.secretsVolume" -}}
- name: secrets
  secret:
    secretName: {{ include "shers.secret" . }}
    defaultMode: 0440
    items:
      - {key: database-url, path: database-url}
      - {key: amqp-url, path: amqp-url}
      {{- if .Values.jwt.enabled }}
      - {key: jwks, path: jwks}
      - {key: insurer-token, path: insurer-token}
      {{- else }}
      - {key: token, path: token}
      {{- end }}
      {{- if .Values.tls.authorities }}
      - {key: database-ca, path: database-ca}
      - {key: amqp-ca, path: amqp-ca}
      {{- end }}
{{- end }}

{{- /* HPA of a component, aimed at what runs it. */ -}}
{{- define "shers.hpa" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "shers.name" .root }}-{{ .component }}
  labels: {{- include "shers.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  scaleTargetRef:
    {{- if include "shers.isRollout" . }}
    apiVersion: argoproj.io/v1alpha1
    kind: Rollout
    {{- else }}
    apiVersion: apps/v1
    kind: Deployment
    {{- end }}
    name: {{ include "shers.name" .root }}-{{ .component }}
  minReplicas: {{ .of.autoscaling.minReplicas }}
  maxReplicas: {{ .of.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 75}}
  behavior:
    # Each step down moves partitions and ends connections.
    scaleDown: {stabilizationWindowSeconds: 300, policies: [{type: Pods, value: 1, periodSeconds: 60}]}
{{- end }}

{{- /* PDB, only above one replica: below, it would forbid every drain of a node. */ -}}
{{- define "shers.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "shers.name" .root }}-{{ .component }}
  labels: {{- include "shers.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "shers.selector" . | nindent 6 }}
{{- end }}
