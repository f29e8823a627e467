{{/* The template of a component's pods: {root, component, pool, name, settings}. */}}
{{- define "longjump.pod" -}}
{{- $root := .root -}}
{{- $one := .settings -}}
{{- $fleet := eq $root.Values.mode "fleet" -}}
{{- $front := ne .component "worker" -}}
{{- $engines := ne .component "api" -}}
{{- $bundles := $engines | ternary (mergeOverwrite (deepCopy $root.Values.bundles) (deepCopy ($one.bundles | default dict))) dict -}}
{{- $compiled := and $engines (dig "engines" "build" false $one) -}}
{{- $serve := $bundles.serve | default list -}}
{{- if $compiled -}}
{{- $serve = list -}}
{{- range $i, $_ := $bundles.serve -}}{{- $serve = append $serve (printf "/var/lib/longjump/bundles/%d" $i) -}}{{- end -}}
{{- end -}}
{{- $port := $front | ternary 8000 9400 -}}
{{- $args := $front | ternary (list "serve") (list "worker") -}}
{{- $args = concat $args $serve -}}
{{- if $front -}}
{{- $args = concat $args (list "--host" "0.0.0.0" "--port" "8000" "--log-format" "json") -}}
{{- else -}}
{{- $args = concat $args (list "--metrics-host" "0.0.0.0" "--metrics-port" "9400" "--log-format" "json") -}}
{{- end -}}
{{- $args = concat $args (list "--drain-seconds" (int $one.drainSeconds | toString)) -}}
{{- if $fleet -}}{{- $args = concat $args (include "longjump.redis.args" $root | fromJson).args -}}{{- end -}}
{{- $gpu := and $engines (gt (int (dig "gpu" "count" 0 $one)) 0) -}}
{{- if $engines -}}{{- $args = concat $args (list "--threads" (int $one.threads | toString)) -}}{{- end -}}
{{- if $gpu -}}{{- $args = concat $args (list "--gpus" (int $one.gpu.count | until | join ",")) -}}{{- end -}}
{{- if and $front $root.Values.apiKeys.existingSecret -}}
{{- $args = concat $args (list "--api-keys" (printf "/etc/longjump/keys/%s" $root.Values.apiKeys.key)) -}}
{{- end -}}
{{- $args = concat $args $one.args -}}
metadata:
  labels:
    {{- include "longjump.labels" . | nindent 4 }}
  {{- with $one.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (int $one.drainSeconds) 20 }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $one.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $one.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- if $compiled }}
  initContainers: # engines for the GPU that this pod has; from the cache, if one like it was compiled before
    {{- range $i, $bundle := $bundles.serve }}
    - name: engines-{{ $i }}
      image: {{ include "longjump.image" $ | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- concat (list "export" $bundle "--out" (index $serve $i) "--force" "--tensorrt") $one.engines.args | toYaml | nindent 8 }}
      {{- with $one.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- include "longjump.container" $ | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: longjump
      image: {{ include "longjump.image" . | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml $args | nindent 8 }}
      {{- $env := $one.env }}
      {{- if $fleet }}
      {{- $env = concat (include "longjump.redis.env" $root | fromYamlArray) $env }}
      {{- end }}
      {{- with $env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: {{ $front | ternary "http" "metrics" }}, containerPort: {{ $port }}, protocol: TCP}
      startupProbe:
        httpGet: {path: {{ $engines | ternary "/readyz" "/livez" }}, port: {{ $port }}}
        periodSeconds: 5
        timeoutSeconds: 4
        failureThreshold: {{ max 1 (div (int $one.startupSeconds) 5) }}
      readinessProbe:
        httpGet: {path: /readyz, port: {{ $port }}}
        periodSeconds: 5
        timeoutSeconds: 4
        failureThreshold: 2
      livenessProbe:
        httpGet: {path: /livez, port: {{ $port }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- if $front }}
      lifecycle:
        preStop: # until no proxy sends anything here any more
          exec: {command: [sleep, "5"]}
      {{- end }}
      {{- include "longjump.container" . | nindent 6 }}
        {{- if and $front $root.Values.apiKeys.existingSecret }}
        - {name: keys, mountPath: /etc/longjump/keys, readOnly: true}
        {{- end }}
        {{- if and $fleet $root.Values.redis.caSecret }}
        - {name: redis-ca, mountPath: /etc/longjump/redis, readOnly: true}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if $engines }}
    - name: cache
      {{- $one.cache.volume | default (dict "emptyDir" dict) | toYaml | nindent 6 }}
    {{- end }}
    {{- if $compiled }}
    - name: engines
      emptyDir: {}
    {{- end }}
    {{- with $bundles.volume }}
    - name: bundles
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if and $front $root.Values.apiKeys.existingSecret }}
    - name: keys
      secret: {secretName: {{ $root.Values.apiKeys.existingSecret }}}
    {{- end }}
    {{- if and $fleet $root.Values.redis.caSecret }}
    - name: redis-ca
      secret: {secretName: {{ $root.Values.redis.caSecret }}}
    {{- end }}
  {{- with $one.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $tolerations := $one.tolerations }}
  {{- if $gpu }}
  {{- $tolerations = append $tolerations (dict "key" $one.gpu.resource "operator" "Exists" "effect" "NoSchedule") }}
  {{- end }}
  {{- with $tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $one.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $one.topologySpreadConstraints }}
    {{- toYaml $one.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "longjump.selector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
{{- end }}

{{/* What the container and those before it have in common; more mounts may follow. */}}
{{- define "longjump.container" -}}
{{- $one := .settings -}}
{{- $engines := ne .component "api" -}}
{{- $resources := deepCopy $one.resources -}}
{{- if and $engines (gt (int (dig "gpu" "count" 0 $one)) 0) -}}
{{- $_ := set $resources "limits" (mergeOverwrite ($resources.limits | default dict) (dict $one.gpu.resource (int $one.gpu.count))) -}}
{{- end -}}
resources:
  {{- toYaml $resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if $engines }}
  - {name: cache, mountPath: /var/cache/longjump}
  {{- $bundles := mergeOverwrite (deepCopy .root.Values.bundles) (deepCopy ($one.bundles | default dict)) }}
  {{- if $bundles.volume }}
  - {name: bundles, mountPath: {{ $bundles.mountPath }}, readOnly: true}
  {{- end }}
  {{- if $one.engines.build }}
  - {name: engines, mountPath: /var/lib/longjump}
  {{- end }}
  {{- end }}
{{- end }}
