package policy

import "strings"

// known are the resources of Kubernetes 1.36 with their subresources, by API group. Rules rarely name each resource they
// are about: "everything that makes pods" is one field. Behind a name, ! says that it is one of the whole cluster, ^ that
// it can only be created, = that it can only be read, and < that it is a stream, which is got or created. A resource that is missing here is treated as one of a custom
// resource unless a rule or a policy names it; a test holds the list against recorded requests.
const known = `
: bindings^ componentstatuses!= configmaps endpoints events limitranges namespaces!/finalize,status nodes!/proxy,status
: persistentvolumeclaims/status persistentvolumes!/status podtemplates replicationcontrollers/scale,status resourcequotas/status
: pods/attach<,binding^,ephemeralcontainers,eviction^,exec<,log=,portforward<,proxy,resize,status secrets serviceaccounts/token^ services/proxy,status
admissionregistration.k8s.io: mutatingadmissionpolicies! mutatingadmissionpolicybindings! mutatingwebhookconfigurations! validatingwebhookconfigurations!
admissionregistration.k8s.io: validatingadmissionpolicies!/status validatingadmissionpolicybindings!
apiextensions.k8s.io: customresourcedefinitions!/status
apiregistration.k8s.io: apiservices!/status
apps: controllerrevisions daemonsets/status deployments/scale,status replicasets/scale,status statefulsets/scale,status
authentication.k8s.io: selfsubjectreviews!^ tokenreviews!^
authorization.k8s.io: localsubjectaccessreviews^ selfsubjectaccessreviews!^ selfsubjectrulesreviews!^ subjectaccessreviews!^
autoscaling: horizontalpodautoscalers/status
batch: cronjobs/status jobs/status
certificates.k8s.io: certificatesigningrequests!/approval,status clustertrustbundles! podcertificaterequests/status
coordination.k8s.io: leases leasecandidates
discovery.k8s.io: endpointslices
events.k8s.io: events
flowcontrol.apiserver.k8s.io: flowschemas!/status prioritylevelconfigurations!/status
internal.apiserver.k8s.io: storageversions!/status
metrics.k8s.io: nodes!= pods=
networking.k8s.io: ingressclasses! ingresses/status ipaddresses! networkpolicies servicecidrs!/status
node.k8s.io: runtimeclasses!
policy: poddisruptionbudgets/status
rbac.authorization.k8s.io: clusterrolebindings! clusterroles! rolebindings roles
resource.k8s.io: deviceclasses! devicetaintrules! resourceclaims/binding,driver,status resourceclaimtemplates resourceslices!
scheduling.k8s.io: priorityclasses! workloads podgroups
storage.k8s.io: csidrivers! csinodes! csistoragecapacities storageclasses! volumeattachments!/status volumeattributesclasses!
storagemigration.k8s.io: storageversionmigrations!/status
`

// custom stands for whatever nobody named, with the subresources that all custom resources may have.
var (
	custom       = Resource{"example.com", "widgets", ""}
	customStatus = Resource{"example.com", "widgets", "status"}
	customScale  = Resource{"example.com", "widgets", "scale"}
)

// A trait is what sets a resource apart from others.
type trait struct {
	clusterWide bool
	verbs       []string // all that there are; nil for those of any resource
}

// builtIn returns the resources of Kubernetes.
func builtIn() (list []Resource, traits map[Resource]trait) {
	traits = map[Resource]trait{}
	read := func(word string) (name string, t trait) {
		name = strings.TrimRight(word, "!^=<")
		marks := word[len(name):]
		t.clusterWide = strings.Contains(marks, "!")
		switch {
		case strings.Contains(marks, "^"):
			t.verbs = []string{"create"}
		case strings.Contains(marks, "="):
			t.verbs = []string{"get", "list", "watch"}
		case strings.Contains(marks, "<"):
			t.verbs = []string{"get", "create"}
		}
		return name, t
	}
	for line := range strings.Lines(strings.TrimSpace(known)) {
		group, names, _ := strings.Cut(line, ":")
		for _, word := range strings.Fields(names) {
			name, subresources, _ := strings.Cut(word, "/")
			name, t := read(name)
			list = append(list, Resource{group, name, ""})
			traits[Resource{group, name, ""}] = t
			for _, sub := range strings.FieldsFunc(subresources, func(c rune) bool { return c == ',' }) {
				sub, ofSub := read(sub)
				ofSub.clusterWide = t.clusterWide
				list = append(list, Resource{group, name, sub})
				traits[Resource{group, name, sub}] = ofSub
			}
		}
	}
	return list, traits
}

// verbs are those of requests about resources, then those of others.
var (
	verbs     = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	httpVerbs = []string{"get", "post", "put", "patch", "delete", "head", "options"}
)

// isRead reports whether a verb changes nothing and sends no body.
func isRead(verb string) bool {
	return verb == "get" || verb == "list" || verb == "watch" || verb == "head" || verb == "options"
}

// longRunning reports whether a request is told of twice, when its answer begins and at its end
// (k8s.io/apiserver: pkg/server/config.go; the subresources are those of k8s.io/kubernetes: pkg/controlplane/apiserver).
func longRunning(r Resource, verb string) bool {
	switch r.Subresource {
	case "attach", "exec", "log", "portforward", "proxy":
		return true
	}
	return verb == "watch"
}

// pathsOfAll are paths every API server has that are about no resource.
var pathsOfAll = []string{
	"/", "/api", "/api/v1", "/apis", "/apis/apps/v1", "/healthz", "/livez", "/livez/ping", "/readyz", "/metrics", "/version", "/openapi/v2", "/openapi/v3",
	"/logs", "/debug/pprof/", "/flagz", "/statusz", "/.well-known/openid-configuration", "/openid/v1/jwks", "/ui",
}
