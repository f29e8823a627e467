{{/* What a schema cannot say: values that exclude or need each other. */}}
{{- define "longjump.check" -}}
{{- if eq .Values.mode "fleet" -}}
{{- $redis := .Values.redis -}}
{{- if not (or $redis.bundled.enabled $redis.url $redis.secret.urlKey) -}}
{{- fail "mode fleet needs a Redis: set redis.url, or redis.secret.name and redis.secret.urlKey, or redis.bundled.enabled" -}}
{{- end -}}
{{- if and $redis.bundled.enabled (or $redis.url $redis.secret.urlKey) -}}
{{- fail "redis.bundled.enabled starts a Redis of this release's own; leave out redis.url and redis.secret.urlKey" -}}
{{- end -}}
{{- if and $redis.secret.urlKey (not $redis.secret.name) -}}
{{- fail "redis.secret.urlKey is a key of the secret redis.secret.name, which is not set" -}}
{{- end -}}
{{- if and $redis.secret.name $redis.secret.password -}}
{{- fail "redis.secret.name is a secret that has the password already; leave out redis.secret.password" -}}
{{- end -}}
{{- if and $redis.bundled.enabled (not $redis.secret.name) (not $redis.secret.password) -}}
{{- fail (printf "redis.bundled needs a password: make a secret (kubectl create secret generic longjump-redis --from-literal=%s=PASSWORD) and set redis.secret.name to its name, or set redis.secret.password. The chart makes none up: each helm template, and each look by Argo CD, would make up another" $redis.secret.passwordKey) -}}
{{- end -}}
{{- end -}}
{{- range (include "longjump.components" . | fromJson).all -}}
{{- $bundles := mergeOverwrite (deepCopy $.Values.bundles) (deepCopy (.settings.bundles | default dict)) -}}
{{- if and (ne .component "api") (dig "engines" "build" false .settings) (or (not $bundles.serve) (lt (int (dig "gpu" "count" 0 .settings)) 1)) -}}
{{- fail (printf "%s: engines.build compiles bundles for a GPU; set bundles.serve and gpu.count, or leave it out" .name) -}}
{{- end -}}
{{- $scaling := .settings.autoscaling -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "%s: autoscaling.minReplicas %d is above maxReplicas %d" .name (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (not $scaling.hpa.cpu) (not $scaling.hpa.predictedWaitSeconds) -}}
{{- fail (printf "%s: autoscaling.hpa looks at nothing; set cpu or predictedWaitSeconds" .name) -}}
{{- end -}}
{{- if and $.Values.redis.secret.urlKey (eq .component "worker") (eq $scaling.kind "keda") (dig "autoscaling" "keda" "fingerprints" list .settings) -}}
{{- fail (printf "%s: KEDA cannot ask a Redis whose URL only a secret knows; set redis.url, or leave out autoscaling.keda.fingerprints" .name) -}}
{{- end -}}
{{- end -}}
{{- end }}
