{{/* The image, with its tag. */}}
{{- define "edgesight.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.tag }}:{{ . }}{{ end }}
{{- end }}

{{/* What every container has. */}}
{{- define "edgesight.container" -}}
image: {{ include "edgesight.image" . | quote }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{/* A Ray worker is ready when Ray is: KubeRay's own probe asks Serve's proxy, by a program that the image has not. */}}
{{- define "edgesight.ready" -}}
readinessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{/* A pod's metadata: a list of the group's values, and the label that it is selected by, which may be empty. */}}
{{- define "edgesight.metadata" -}}
{{- $group := index . 0 }}
{{- $labels := dict }}
{{- with index . 1 }}{{ $labels = dict "app" . }}{{ end }}
{{- $labels = merge $labels $group.labels }}
{{- if or $labels $group.annotations }}
metadata:
  {{- with $labels }}
  labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $group.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Where a pod may go, and who gets its image: a list of the root and the group's values. */}}
{{- define "edgesight.placed" -}}
{{- $root := index . 0 }}
{{- $group := index . 1 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $group.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $group.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $group.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
