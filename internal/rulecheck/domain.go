package rulecheck

import (
	"slices"
	"strings"

	"kaudit/pkg/extract"
)

var (
	yesOrNo    = []string{"true", "false"}
	identities = []string{"anonymous", "serviceaccount", "node", "system", "user"}
)

// domains are the values of fields that have only these (kubernetes/apiserver: pkg/apis/audit/types.go for those of the
// event; kubernetes/api for those of objects; package extract for its own).
var domains = map[string][]string{
	"ka.stage":                         {"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"},
	"ka.level":                         {"Metadata", "Request", "RequestResponse"},
	"ka.auth.decision":                 {"allow", "forbid"},
	"ka.status":                        {"Success", "Failure"},
	"ka.patch.type":                    {"json", "merge", "strategic", "apply"},
	"ka.user.kind":                     identities,
	"ka.impuser.kind":                  identities,
	"ka.actor.kind":                    identities,
	"ka.action":                        {"create", "update", "delete", "get", "list", "watch", "connect", "options", "trace", "proxy"},
	"ka.outcome":                       {"success", "unauthorized", "forbidden", "failure", "pending"},
	"ka.salvaged":                      {"truncated", "broken"},
	"ka.podsecurity.exempt":            {"user", "namespace", "runtimeClass"},
	"ka.service.type":                  {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
	"ka.req.service.type":              {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
	"ka.binding.role.kind":             {"ClusterRole", "Role"},
	"ka.containers.kind":               {"container", "init", "ephemeral"},
	"ka.pod.host_namespaces":           {"network", "pid", "ipc"},
	"ka.pod.restart_policy":            {"Always", "OnFailure", "Never"},
	"ka.pod.unconfined":                {"seccomp", "apparmor", "selinux", "proc_mount"},
	"ka.role.escalates":                {"escalate", "bind", "impersonate"},
	"ka.data.credentials":              {"private-key", "aws-access-key", "token", "password"},
	"ka.req.pod.host_ipc":              yesOrNo,
	"ka.req.pod.host_network":          yesOrNo,
	"ka.req.pod.host_pid":              yesOrNo,
	"ka.req.container.host_network":    yesOrNo,
	"ka.req.container.privileged":      yesOrNo,
	"ka.req.volume.hostpath":           yesOrNo,
	"ka.req.binding.subject.has_name":  {"true"},
	"ka.containers.privileged":         yesOrNo,
	"ka.req.pod.containers.proc_mount": {"Default", "Unmasked"},
}

// domainOf returns the only values of a field, or nil if there are others.
func domainOf(f *extract.Field) []string {
	if d, ok := domains[f.Name]; ok {
		return d
	}
	if strings.HasPrefix(f.Name, "ka.req.pod.") {
		for _, flag := range []string{".privileged", ".allow_privilege_escalation", ".read_only_fs"} {
			if strings.HasSuffix(f.Name, flag) {
				return yesOrNo
			}
		}
	}
	if f.From.Type == extract.Bool {
		return yesOrNo
	}
	return nil
}

// verbs are those of the API (kubernetes/apiserver: pkg/endpoints/request/requestinfo.go), then the methods of HTTP.
var verbs = []string{
	"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy",
	"post", "put", "head", "options", "connect", "trace",
}

// roleVerbs are verbs that roles grant and no request has.
var roleVerbs = map[string]string{
	"bind": "a request that binds a role creates or updates a binding", "escalate": "a request that escalates writes a role",
	"impersonate": "use ka.impersonated = true", "use": "a pod that uses something names it in its specification",
	"approve": "use ka.target.subresource = approval", "sign": "use ka.target.subresource = status",
	"exec": "use ka.target.subresource = exec", "apply": "server-side apply is a patch: ka.patch.type = apply", "edit": "kubectl edit patches: ka.verb = patch", "*": "leave the comparison out",
}

// isBody reports whether a field is read from what the event has of the request and response bodies.
func isBody(name string) bool {
	switch name {
	case "ka.req.configmap.name", "ka.req.binding.subject.has_name", "ka.obj.name", "ka.obj.namespace":
		return false
	case "ka.replicas", "ka.resp.name", "ka.request.kind", "ka.response.kind", "ka.secret.type":
		return true
	}
	return slices.ContainsFunc([]string{
		"ka.req.", "ka.obj.", "ka.pod", "ka.containers.", "ka.role.", "ka.binding.", "ka.data.", "ka.service.", "ka.ingress.",
		"ka.volume.", "ka.node.", "ka.webhook.", "ka.token.", "ka.csr.", "ka.cronjob.", "ka.patch.",
	}, func(p string) bool {
		return strings.HasPrefix(name, p) && name != "ka.podsecurity.exempt" && name != "ka.podsecurity.policy"
	})
}

// isAnswer reports whether a field is known only when a request is answered.
func isAnswer(name string) bool {
	switch name {
	case "ka.code", "ka.status", "ka.message", "ka.success", "ka.refused", "ka.outcome", "ka.done", "ka.stage", "ka.annotation", "ka.annotations.keys",
		"ka.validations.admission.policy.failure", "ka.security.pod.violations", "ka.deprecated":
		return true
	}
	return slices.ContainsFunc([]string{"ka.response.", "ka.auth.", "ka.admission.", "ka.podsecurity."}, func(p string) bool { return strings.HasPrefix(name, p) })
}
