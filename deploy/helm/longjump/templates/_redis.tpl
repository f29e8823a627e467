{{- define "longjump.redis.secret" -}}
{{- default (printf "%s-redis" (include "longjump.name" .)) .Values.redis.secret.name -}}
{{- end }}

{{/* Whether there is a password at all. */}}
{{- define "longjump.redis.password" -}}
{{- if or .Values.redis.secret.name .Values.redis.secret.password }}yes{{ end -}}
{{- end }}

{{- define "longjump.redis.url" -}}
{{- if .Values.redis.bundled.enabled -}}
redis://{{ include "longjump.name" . }}-redis:6379
{{- else if .Values.redis.secret.urlKey -}}
$(LONGJUMP_REDIS_URL)
{{- else -}}
{{ .Values.redis.url }}
{{- end -}}
{{- end }}

{{/* HOST:PORT of redis.url. */}}
{{- define "longjump.redis.address" -}}
{{- $host := regexReplaceAll "^rediss?://([^/]*).*$" .Values.redis.url "${1}" -}}
{{- regexMatch ":[0-9]+$" $host | ternary $host (printf "%s:6379" $host) -}}
{{- end }}

{{/* Flags of `longjump serve` and `longjump worker`, one JSON list under `args`. */}}
{{- define "longjump.redis.args" -}}
{{- $args := list "--redis" (include "longjump.redis.url" .) "--fleet" .Values.redis.fleet -}}
{{- if .Values.redis.caSecret -}}{{- $args = concat $args (list "--redis-ca" "/etc/longjump/redis/ca.crt") -}}{{- end -}}
{{- dict "args" $args | toJson -}}
{{- end }}

{{/* The password, and a URL that only a secret knows, come by the environment: nobody sees them in a list of processes. */}}
{{- define "longjump.redis.env" -}}
{{- if include "longjump.redis.password" . }}
- name: LONGJUMP_REDIS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "longjump.redis.secret" . }}, key: {{ .Values.redis.secret.passwordKey }}}
{{- end }}
{{- if and .Values.redis.secret.urlKey (not .Values.redis.bundled.enabled) }}
- name: LONGJUMP_REDIS_URL
  valueFrom:
    secretKeyRef: {name: {{ include "longjump.redis.secret" . }}, key: {{ .Values.redis.secret.urlKey }}}
{{- end }}
{{- end }}

{{/* Whether an autoscaler asks Redis itself. */}}
{{- define "longjump.redis.scaled" -}}
{{- $found := "" -}}
{{- range (include "longjump.components" . | fromJson).all -}}
{{- if and (eq .component "worker") (eq .settings.autoscaling.kind "keda") (dig "autoscaling" "keda" "fingerprints" list .settings) -}}
{{- $found = "yes" -}}
{{- end -}}
{{- end -}}
{{- $found -}}
{{- end }}

{{/* What KEDA has to know to be let in: parameters of a TriggerAuthentication. */}}
{{- define "longjump.redis.credentials" -}}
{{- if include "longjump.redis.password" . }}
- {parameter: password, name: {{ include "longjump.redis.secret" . }}, key: {{ .Values.redis.secret.passwordKey }}}
{{- end }}
{{- if .Values.redis.caSecret }}
- {parameter: ca, name: {{ .Values.redis.caSecret }}, key: ca.crt}
{{- end }}
{{- end }}
