{{- define "longjump.name" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $long := contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{- default $long .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the pods of a component: {root, component, pool}. */}}
{{- define "longjump.selector" -}}
app.kubernetes.io/name: longjump
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
longjump/pool: {{ . }}
{{- end }}
{{- end }}

{{- define "longjump.labels" -}}
{{ include "longjump.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The component that answers HTTP. */}}
{{- define "longjump.front" -}}
{{ eq .Values.mode "fleet" | ternary "api" "server" }}
{{- end }}

{{/* The components of this mode as a list of {component, pool, name, settings}, in JSON under `all`. */}}
{{- define "longjump.components" -}}
{{- $name := include "longjump.name" . -}}
{{- $all := list -}}
{{- if eq .Values.mode "fleet" -}}
{{- $all = append $all (dict "component" "api" "pool" "" "name" (printf "%s-api" $name) "settings" .Values.api) -}}
{{- range $pool, $own := .Values.pools -}}
{{- $settings := mergeOverwrite (deepCopy $.Values.worker) (deepCopy ($own | default dict)) -}}
{{- $all = append $all (dict "component" "worker" "pool" $pool "name" (printf "%s-worker-%s" $name $pool) "settings" $settings) -}}
{{- end -}}
{{- else -}}
{{- $all = append $all (dict "component" "server" "pool" "" "name" $name "settings" .Values.server) -}}
{{- end -}}
{{- dict "all" $all | toJson -}}
{{- end }}

{{- define "longjump.image" -}}
{{- $image := mergeOverwrite (deepCopy .root.Values.image) (deepCopy (.settings.image | default dict)) -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What tells series of this release apart, and its components: the autoscalers ask by these. */}}
{{- define "longjump.relabelings" -}}
{{- range list (list "instance" "release") (list "component" "component") }}
- sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_{{ first . }}]
  targetLabel: {{ last . }}
{{- end }}
- sourceLabels: [__meta_kubernetes_pod_label_longjump_pool]
  targetLabel: pool
{{- end }}
