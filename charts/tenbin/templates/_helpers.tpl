{{- /* Names are fixed, not derived from the release's: proxies reach the operator by the name of its Service. */ -}}
{{- define "tenbin.name" -}}tenbin-operator{{- end -}}

{{- /* What is cluster-wide carries the namespace, so that two releases can live side by side. */ -}}
{{- define "tenbin.clusterName" -}}
{{- printf "tenbin-operator:%s" .Release.Namespace -}}
{{- end -}}

{{- define "tenbin.selector" -}}
app.kubernetes.io/name: {{ include "tenbin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tenbin.labels" -}}
{{ include "tenbin.selector" . }}
app.kubernetes.io/part-of: tenbin
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* An image by digest, else by tag, else by the chart's own version. Takes (dict "image" … "chart" .Chart). */ -}}
{{- define "tenbin.image" -}}
{{- with .image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Lives of certificates. A value that is not there, as after an upgrade that reuses the values of an older chart, is the
operator's default. Whole numbers: without int64 a large one is written as 6.3072e+07. */ -}}
{{- define "tenbin.certificates" -}}
{{- $lives := merge (dict) (.Values.certificates | default dict) (dict "caSeconds" 63072000 "servingSeconds" 7776000 "overlapSeconds" 86400) -}}
{{- $ca := int64 $lives.caSeconds -}}
{{- if gt (mul 2 (int64 $lives.servingSeconds)) $ca -}}
{{- fail (printf "certificates.servingSeconds: %d, expected at most %d, half of caSeconds" (int64 $lives.servingSeconds) (div $ca 2)) -}}
{{- end -}}
{{- if gt (mul 4 (int64 $lives.overlapSeconds)) $ca -}}
{{- fail (printf "certificates.overlapSeconds: %d, expected at most %d, a quarter of caSeconds" (int64 $lives.overlapSeconds) (div $ca 4)) -}}
{{- end -}}
- name: TENBIN_CERTIFICATE_CA_SECONDS
  value: {{ $ca | quote }}
- name: TENBIN_CERTIFICATE_SERVING_SECONDS
  value: {{ int64 $lives.servingSeconds | quote }}
- name: TENBIN_CERTIFICATE_OVERLAP_SECONDS
  value: {{ int64 $lives.overlapSeconds | quote }}
{{- end -}}

{{- /* Bindings all name the same one. */ -}}
{{- define "tenbin.subjects" -}}
subjects:
- kind: ServiceAccount
  name: {{ include "tenbin.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* What the operator may do in the namespaces of apps; no more than it does. Secrets are not among it. */ -}}
{{- define "tenbin.appRules" -}}
# What users want, and what was found.
- apiGroups: [tenbin.dev]
  resources: [balancedapps]
  verbs: [list, watch]
- apiGroups: [tenbin.dev]
  resources: [balancedapps/status]
  verbs: [patch]
# To be an owner that holds up its own deletion (OwnerReferencesPermissionEnforcement).
- apiGroups: [tenbin.dev]
  resources: [balancedapps/finalizers]
  verbs: [update]
# The children of an app, by server-side apply, which is a patch and, where the object is new, a create. They go by their owner
# reference: nothing here is deleted by hand.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# The specs that were accepted; old ones go.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, delete]
# Whose pod is whose, and where it listens.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
