{{/* Names are fixed: a cluster has one Insource, in one namespace. */}}

{{- define "insource.image" -}}
{{- $image := .image -}}
{{- $name := printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- with .root.Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}{{ $name }}
{{- end }}

{{- define "insource.selector" -}}
app.kubernetes.io/name: insource
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Without a version: an upgrade that changes nothing of a pod restarts none. */}}
{{- define "insource.podLabels" -}}
{{ include "insource.selector" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "insource.labels" -}}
{{ include "insource.selector" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* What every container of ours may do. */}}
{{- define "insource.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The part of a pod's spec that is alike for all: who runs it, where, from which registry. */}}
{{- define "insource.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .place.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Replicas on different nodes, where there are several. */}}
{{- define "insource.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "insource.selector" . | nindent 8 }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "insource.selector" . | nindent 8 }}
{{- end }}

{{- define "insource.ledgerURL" -}}
http://insource-ledger.{{ .Release.Namespace }}.svc:8080
{{- end }}

{{- define "insource.masterSecret" -}}
{{ .Values.gateway.masterSecret.existing | default "insource-gateway-master" | quote }}
{{- end }}

{{- define "insource.gatewayPort" -}}
{{- if .Values.gateway.service.port }}{{ .Values.gateway.service.port }}{{ else if .Values.gateway.tls.secretName }}443{{ else }}80{{ end }}
{{- end }}

{{/* The gateway's Service, with the port if it is not the scheme's own. */}}
{{- define "insource.gatewayServiceURL" -}}
{{- $scheme := ternary "https" "http" (ne .Values.gateway.tls.secretName "") -}}
{{- $port := include "insource.gatewayPort" . -}}
{{ $scheme }}://insource-gateway.{{ .Release.Namespace }}.svc
{{- if ne $port (ternary "443" "80" (eq $scheme "https")) }}:{{ $port }}{{ end }}
{{- end }}

{{- define "insource.publicURL" -}}
{{- $gateway := .Values.gateway -}}
{{- if $gateway.publicURL }}{{ trimSuffix "/" $gateway.publicURL }}
{{- else if $gateway.ingress.enabled }}{{ ternary "https" "http" (ne $gateway.ingress.tlsSecretName "") }}://{{ $gateway.ingress.host }}
{{- else }}{{ include "insource.gatewayServiceURL" . }}
{{- end }}
{{- end }}

{{/* A role to a component's ServiceAccount: in one namespace, or in all. */}}
{{- define "insource.binding" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (hasKey . "namespace") }}
metadata:
  name: {{ .role }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "insource.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .of }}
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: insource-{{ .component }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}
