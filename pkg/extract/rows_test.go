package extract_test

import (
	"strings"
	"testing"
)

// A row asks fields of one event. want holds one question and its answer a line: name, an equals sign, the value as
// the host prints it.
type row struct {
	what, event string
	want        string
}

func check(t *testing.T, rows []row) {
	t.Helper()
	a := newAsker(t)
	for _, r := range rows {
		if !a.load(withID(r.event)) {
			t.Errorf("%s: not JSON: %s", r.what, r.event)
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(r.want), "\n") {
			name, want, _ := strings.Cut(strings.TrimSpace(line), " =")
			want = strings.TrimPrefix(want, " ")
			q := a.question(name)
			a.value.Reset()
			q.Answer(&a.event, &a.value)
			if got := shown(q.Field, &a.value); got != want {
				t.Errorf("%s: %s\n got %s\nwant %s\n on %s", r.what, name, got, want, r.event)
			}
		}
	}
}

func roleOf(rules string) string {
	return `{"verb":"create","objectRef":{"resource":"clusterroles"},"requestObject":{"rules":[` + rules + `]}}`
}

func TestARoleGrantsWhatRBACSays(t *testing.T) {
	check(t, []row{
		{"verb and resource", roleOf(`{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}`), `
			ka.role.grants[get,pods] = true
			ka.role.grants[get pods] = true
			ka.role.grants[watch,pods] = false
			ka.role.grants[get,secrets] = false
			ka.role.grants[get,pods/log] = false
			ka.role.grants[get,pods.apps] = false`},
		{"two rules are not put together", roleOf(`{"verbs":["get"],"apiGroups":[""],"resources":["pods"]},{"verbs":["create"],"apiGroups":[""],"resources":["secrets"]}`), `
			ka.role.grants[create,pods] = false
			ka.role.grants[get,pods] = true
			ka.role.grants[create,secrets] = true`},
		{"wildcards", roleOf(`{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}`), `
			ka.role.grants[create,pods/exec] = true
			ka.role.grants[bind,clusterroles] = true
			ka.role.grants[get,widgets.example.com/status,one] = true
			ka.role.grants[get,/metrics] = false
			ka.role.wildcard = true
			ka.role.everything = true
			ka.role.writes = true
			ka.role.escalates = (escalate,bind,impersonate)`},
		{"everything but in one API group", roleOf(`{"verbs":["*"],"apiGroups":["apps"],"resources":["*"]}`), `
			ka.role.everything = false
			ka.role.wildcard = true
			ka.role.grants[delete,deployments] = true
			ka.role.grants[delete,pods] = false
			ka.role.escalates = <NA>`},
		{"subresources", roleOf(`{"verbs":["create"],"apiGroups":[""],"resources":["pods/exec","*/attach"]}`), `
			ka.role.grants[create,pods/exec] = true
			ka.role.grants[create,pods/attach] = true
			ka.role.grants[create,nodes/attach] = true
			ka.role.grants[create,pods/portforward] = false
			ka.role.grants[create,pods] = false`},
		{"no subresource and an empty one", roleOf(`{"verbs":["get"],"apiGroups":[""],"resources":["pods/","*/"]}`), `
			ka.role.grants[get,pods] = false`},
		{"a rule for names only", roleOf(`{"verbs":["get"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["db"]}`), `
			ka.role.grants[get,secrets] = false
			ka.role.grants[get,secrets,db] = true
			ka.role.grants[get,secrets,other] = false`},
		{"everything, of one name", roleOf(`{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"resourceNames":["db"]}`), `
			ka.role.everything = false
			ka.role.wildcard = false`},
		{"API groups of Kubernetes are known", roleOf(`{"verbs":["create"],"apiGroups":["apps","batch","rbac.authorization.k8s.io"],"resources":["deployments","cronjobs","rolebindings","certificatesigningrequests"]}`), `
			ka.role.grants[create,deployments] = true
			ka.role.grants[create,cronjobs] = true
			ka.role.grants[create,rolebindings] = true
			ka.role.grants[create,certificatesigningrequests] = false
			ka.role.grants[create,deployments.extensions] = false`},
		{"no API groups grant nothing", roleOf(`{"verbs":["get"],"resources":["pods"]}`), `
			ka.role.grants[get,pods] = false`},
		{"paths", roleOf(`{"verbs":["get"],"nonResourceURLs":["/metrics","/healthz/*"]}`), `
			ka.role.grants[get,/metrics] = true
			ka.role.grants[get,/metrics/x] = false
			ka.role.grants[get,/healthz/etcd] = true
			ka.role.grants[get,/healthz] = false
			ka.role.grants[post,/metrics] = false
			ka.role.grants[get,metrics] = false
			ka.role.paths = (/metrics,/healthz/*)
			ka.role.rules = (get /metrics,/healthz/*)`},
		{"all paths", roleOf(`{"verbs":["*"],"nonResourceURLs":["*"]}`), `
			ka.role.grants[get,/anything] = true
			ka.role.grants[get,pods] = false`},
		{"verbs that change nothing", roleOf(`{"verbs":["get","list","watch","impersonate"],"apiGroups":[""],"resources":["users"]}`), `
			ka.role.writes = false
			ka.role.escalates = (impersonate)`},
		{"rules by number", roleOf(`{"verbs":["get"],"apiGroups":[""],"resources":["pods"]},{"verbs":["list"],"apiGroups":["apps","batch"],"resources":["jobs"]}`), `
			ka.role.rules = (get pods,list jobs in apps,batch)
			ka.role.rules[1] = (list jobs in apps,batch)
			ka.role.verbs[0] = (get)
			ka.role.verbs[2] = <NA>
			ka.role.apigroups = (,apps,batch)`},
		{"a role that is read as no role", `{"verb":"create","objectRef":{"resource":"pods"},"requestObject":{"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}}`, `
			ka.role.grants[get,pods] = <NA>
			ka.role.everything = <NA>
			ka.role.verbs = <NA>`},
		{"a role whose body is not recorded", `{"verb":"create","objectRef":{"resource":"clusterroles"}}`, `
			ka.role.grants[get,pods] = <NA>
			ka.role.everything = <NA>`},
		{"odd rules", roleOf(`null,7,"x",[],{"verbs":"get","resources":{"pods":1}},{"verbs":[null,7],"apiGroups":[[]],"resources":[{}]}`), `
			ka.role.grants[get,pods] = false
			ka.role.everything = false`},
	})
}

func TestABindingTellsToWhom(t *testing.T) {
	on := func(resource, members string) string {
		return `{"verb":"create","user":{"username":"jane","groups":["dev","system:authenticated"]},"objectRef":{"resource":"` + resource + `"},"requestObject":{` + members + `}}`
	}
	check(t, []row{
		{"both kinds", on("rolebindings", `"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"Group","name":"dev"},{"kind":"ServiceAccount","name":"ci","namespace":"build"}]`), `
			ka.binding.clusterwide = false
			ka.binding.role = r
			ka.binding.role.kind = Role
			ka.binding.subjects = (Group:dev,ServiceAccount:build:ci)
			ka.binding.self = true
			ka.binding.everyone = false
			ka.binding.anonymous = false`},
		{"everyone who is logged in is not the one", on("clusterrolebindings", `"subjects":[{"kind":"Group","name":"system:authenticated"}]`), `
			ka.binding.clusterwide = true
			ka.binding.self = false
			ka.binding.everyone = true`},
		{"all service accounts of a namespace", on("clusterrolebindings", `"subjects":[{"kind":"Group","name":"system:serviceaccounts:build"}]`), `
			ka.binding.everyone = true`},
		{"no subjects", on("clusterrolebindings", `"roleRef":{"name":"r"}`), `
			ka.binding.self = false
			ka.binding.subjects = <NA>
			ka.binding.anonymous = false`},
		{"subjects taken away, without a name, and odd", on("clusterrolebindings", `"subjects":[{"kind":"User","name":"jane","$patch":"delete"},{"kind":"User"},null,7,{"kind":7,"name":"x"}]`), `
			ka.binding.self = false
			ka.binding.users = <NA>
			ka.binding.subjects = (:x)`},
		{"the service account itself", `{"verb":"create","user":{"username":"system:serviceaccount:build:ci"},"objectRef":{"resource":"rolebindings"},"requestObject":{"subjects":[{"kind":"ServiceAccount","name":"ci","namespace":"build"}]}}`, `
			ka.binding.self = true`},
		{"another's name", `{"verb":"create","user":{"username":"jane"},"impersonatedUser":{"username":"root"},"objectRef":{"resource":"rolebindings"},"requestObject":{"subjects":[{"kind":"User","name":"root"}]}}`, `
			ka.binding.self = true`},
		{"in a JSON patch", `{"verb":"patch","user":{"username":"jane"},"objectRef":{"resource":"clusterrolebindings"},"requestObject":[{"op":"add","path":"/subjects/-","value":{"kind":"User","name":"jane"}}]}`, `
			ka.binding.self = true
			ka.binding.users = (jane)`},
		{"anonymous user", on("rolebindings", `"subjects":[{"kind":"User","name":"system:anonymous"}]`), `
			ka.binding.anonymous = true`},
	})
}

func pod(spec string) string {
	return `{"verb":"create","objectRef":{"resource":"pods","apiVersion":"v1"},"requestObject":{"spec":{` + spec + `}}}`
}

func TestAHostPathIsUnderAboveAndClean(t *testing.T) {
	mount := func(path, mounts string) string {
		return pod(`"volumes":[{"name":"v","hostPath":{"path":"` + path + `"}}],"containers":[{"name":"c","volumeMounts":[` + mounts + `]}]`)
	}
	check(t, []row{
		{"at", mount("/etc", ""), "ka.pod.hostpath.under[/etc] = true\n ka.pod.hostpath.under[/etc/] = true\n ka.pod.hostpath.under[ //etc/./x/.. ] = true"},
		{"below", mount("/etc/kubernetes/pki", ""), "ka.pod.hostpath.under[/etc] = true\n ka.pod.hostpath.under[/var,/etc/kubernetes] = true"},
		{"above", mount("/", ""), "ka.pod.hostpath.under[/etc/shadow] = true\n ka.pod.hostpaths = (/)"},
		{"beside", mount("/etcetera", ""), "ka.pod.hostpath.under[/etc] = false\n ka.pod.hostpath.any = true"},
		{"dots", mount("/var/log/../../etc/./kubernetes//", ""), "ka.pod.hostpaths = (/etc/kubernetes)\n ka.pod.hostpath.under[/etc/kubernetes] = true\n ka.pod.hostpath.under[/var] = false"},
		{"dots above the root", mount("/../../..", ""), "ka.pod.hostpaths = (/)"},
		{"no path", pod(`"volumes":[{"name":"v","emptyDir":{}}]`), "ka.pod.hostpath.under[/etc] = false\n ka.pod.hostpath.any = false\n ka.pod.hostpaths = <NA>"},
		{"no pod", `{"verb":"get"}`, "ka.pod.hostpath.under[/etc] = <NA>\n ka.pod.hostpath.any = <NA>"},
		{"writable", mount("/etc", `{"name":"v","mountPath":"/x"}`), "ka.pod.hostpath.writable[/etc] = true"},
		{"read-only", mount("/etc", `{"name":"v","mountPath":"/x","readOnly":true}`), "ka.pod.hostpath.writable[/etc] = false\n ka.pod.hostpath.under[/etc] = true"},
		{"read-only and writable", mount("/etc", `{"name":"v","mountPath":"/x","readOnly":true},{"name":"v","mountPath":"/y"}`), "ka.pod.hostpath.writable[/etc] = true"},
		{"mounted by nobody yet", mount("/etc", `{"name":"w","mountPath":"/x","readOnly":true}`), "ka.pod.hostpath.writable[/etc] = true"},
		{"taken away", pod(`"volumes":[{"name":"v","hostPath":{"path":"/etc"},"$patch":"delete"}]`), "ka.pod.hostpath.any = false"},
		{"in the template of a CronJob", `{"verb":"create","objectRef":{"resource":"cronjobs","apiGroup":"batch"},"requestObject":{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"volumes":[{"hostPath":{"path":"/etc"}}]}}}}}}}`, "ka.pod.hostpath.under[/etc] = true\n ka.pod.template = true"},
	})
}

func TestContainersLineUp(t *testing.T) {
	three := pod(`"securityContext":{"runAsUser":7},"containers":[{"name":"a","image":"x:1","command":["sh"]},{"image":"y"},{"name":"gone","$patch":"delete"},null],` +
		`"initContainers":[{"name":"c","securityContext":{"runAsUser":0,"privileged":true,"capabilities":{"add":["CAP_SYS_ADMIN","net_raw"]}}}],"ephemeralContainers":[{"name":"d","image":"z@sha256:1","args":["-c",7]}]`)
	check(t, []row{
		{"values that are missing are empty texts", three, `
			ka.containers.count = 4
			ka.containers.kind = (container,container,init,ephemeral)
			ka.containers.name = (a,,c,d)
			ka.containers.image = (x:1,y,,z@sha256:1)
			ka.containers.image.tag = (1,latest,,)
			ka.containers.image.digest = (,,,sha256:1)
			ka.containers.image.registry = (docker.io,docker.io,,docker.io)
			ka.containers.command = (sh,,,)
			ka.containers.args = (,,,-c 7)
			ka.containers.cmdline = (sh,,,-c 7)
			ka.containers.privileged = (false,false,true,false)
			ka.containers.run_as_user = (7,7,0,7)
			ka.containers.run_as_group = (,,,)
			ka.containers.capabilities = (,,SYS_ADMIN NET_RAW,)
			ka.pod.capabilities = (SYS_ADMIN,NET_RAW)
			ka.pod.privileged = true
			ka.containers.image.unpinned = true`},
		{"an index picks one", three, `
			ka.containers.name[2] = (c)
			ka.containers.name[1] = ()
			ka.containers.name[4] = <NA>
			ka.containers.run_as_user[2] = (0)
			ka.containers.run_as_group[3] = ()
			ka.containers.image.tag[0] = (1)`},
		{"no containers", pod(``), "ka.containers.count = 0\n ka.containers.name = <NA>\n ka.pod.privileged = false\n ka.containers.image.unpinned = false"},
		{"a container without an image is not unpinned", `{"verb":"patch","objectRef":{"resource":"pods"},"requestObject":{"spec":{"containers":[{"name":"a"}]}}}`, "ka.containers.image.unpinned = false"},
		{"no pod", `{"verb":"create","objectRef":{"resource":"services"},"requestObject":{"spec":{"containers":[{"name":"a"}]}}}`, "ka.containers.count = <NA>\n ka.containers.name = <NA>\n ka.pod = false"},
		{"containers that are no list", pod(`"containers":{"name":"a"}`), "ka.containers.count = 0"},
	})
}

func TestAPodIsFoundWhereverItIs(t *testing.T) {
	on := func(resource, group, body string) string {
		return `{"verb":"create","objectRef":{"resource":"` + resource + `","apiGroup":"` + group + `"},"requestObject":` + body + `}`
	}
	spec := `{"hostPID":true}`
	template := `{"spec":{"template":{"spec":` + spec + `}}}`
	yes, no := "ka.pod.host_pid = true\n ka.pod.template = true", "ka.pod.host_pid = <NA>\n ka.pod = false"
	check(t, []row{
		{"pods", on("pods", "", `{"spec":`+spec+`}`), "ka.pod.host_pid = true\n ka.pod.template = false"},
		{"deployments", on("deployments", "apps", template), yes},
		{"deployments of old", on("deployments", "extensions", template), yes},
		{"daemonsets", on("daemonsets", "apps", template), yes},
		{"statefulsets", on("statefulsets", "apps", template), yes},
		{"replicasets", on("replicasets", "apps", template), yes},
		{"replicationcontrollers", on("replicationcontrollers", "", template), yes},
		{"jobs", on("jobs", "batch", template), yes},
		{"cronjobs", on("cronjobs", "batch", `{"spec":{"jobTemplate":{"spec":{"template":{"spec":`+spec+`}}}}}`), yes},
		{"podtemplates", on("podtemplates", "", `{"template":{"spec":`+spec+`}}`), yes},
		{"a custom resource with a template", on("rollouts", "argoproj.io", `{"spec":{"template":{"spec":{"hostPID":true,"containers":[]}}}}`), yes},
		{"a custom resource with another template", on("certificates", "cert-manager.io", template), no},
		{"of Kubernetes, but without pods", on("nodes", "", template), no},
		{"v1alpha1, with the group in the version", `{"verb":"create","objectRef":{"resource":"deployments","apiVersion":"apps/v1"},"requestObject":` + template + `}`, yes + "\n ka.target.apigroup = apps\n ka.target.apiversion = v1"},
		{"a subresource", `{"verb":"update","objectRef":{"resource":"pods","subresource":"status"},"requestObject":{"spec":` + spec + `}}`, no},
		{"ephemeral containers", `{"verb":"patch","objectRef":{"resource":"pods","subresource":"ephemeralcontainers"},"requestObject":{"spec":{"ephemeralContainers":[{"name":"d","securityContext":{"privileged":true}}]}}}`, "ka.pod.privileged = true\n ka.containers.kind = (ephemeral)"},
		{"a deletion", `{"verb":"delete","objectRef":{"resource":"pods"},"requestObject":{"spec":` + spec + `}}`, no},
		{"the response counts", `{"verb":"create","objectRef":{"resource":"pods"},"requestObject":{"spec":{}},"responseObject":{"kind":"Pod","spec":` + spec + `}}`, "ka.pod.host_pid = true\n ka.req.pod.host_pid = <NA>"},
		{"a refusal does not", `{"verb":"create","objectRef":{"resource":"pods"},"requestObject":{"spec":` + spec + `},"responseObject":{"kind":"Status"}}`, "ka.pod.host_pid = true\n ka.req.pod.host_pid = true"},
	})
}

func TestAJSONPatchIsReadAsWhatItSets(t *testing.T) {
	on := func(resource, group, ops string) string {
		return `{"verb":"patch","objectRef":{"resource":"` + resource + `","apiGroup":"` + group + `"},"requestObject":[` + ops + `]}`
	}
	check(t, []row{
		{"an image", on("deployments", "apps", `{"op":"replace","path":"/spec/template/spec/containers/1/image","value":"evil.example.com/x"}`), `
			ka.containers.image = (evil.example.com/x)
			ka.containers.image.registry = (evil.example.com)
			ka.pod.template = true
			ka.patch.type = json
			ka.patch.paths = (/spec/template/spec/containers/1/image)
			ka.patch.touches[/spec/template] = true
			ka.patch.touches[spec/template] = true
			ka.patch.touches[/spec/replicas] = false
			ka.req.pod.containers.image = <NA>`},
		{"a privileged container at the end", on("pods", "", `{"op":"test","path":"/x"},{"op":"add","path":"/spec/ephemeralContainers/-","value":{"name":"d","image":"i","securityContext":{"privileged":true}}}`), `
			ka.pod.privileged = true
			ka.containers.kind = (ephemeral)`},
		{"hidden behind another", on("deployments", "apps", `{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"e","image":"evil"}},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"good"}`), `
			ka.containers.image = (good,evil)`},
		{"a whole object", on("deployments", "apps", `{"op":"replace","path":"","value":{"spec":{"template":{"spec":{"hostNetwork":true}}}}}`), `
			ka.pod.host_network = true
			ka.patch.touches[/spec] = true`},
		{"a label", on("namespaces", "", `{"op":"add","path":"/metadata/labels/pod-security.kubernetes.io~1enforce","value":"privileged"}`), `
			ka.obj.label[pod-security.kubernetes.io/enforce] = privileged
			ka.obj.labels = (pod-security.kubernetes.io/enforce=privileged)`},
		{"a rule", on("clusterroles", "rbac.authorization.k8s.io", `{"op":"add","path":"/rules/-","value":{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}}`), `
			ka.role.everything = true`},
		{"a number of replicas", on("deployments", "apps", `{"op":"replace","path":"/spec/replicas","value":0}`), `
			ka.replicas = 0`},
	})
}

func TestTheActionIsWhatWasDone(t *testing.T) {
	on := func(verb, more string) string {
		return `{"verb":"` + verb + `","objectRef":{"resource":"pods","name":"p"` + more
	}
	plain := `},"responseStatus":{"code":200}}`
	created := `},"responseStatus":{"code":201}}`
	check(t, []row{
		{"create", on("create", created), "ka.action = create\n ka.write = true\n ka.read = false"},
		{"update", on("update", plain), "ka.action = update\n ka.write = true"},
		{"update of what was not there", on("update", created), "ka.action = create"},
		{"patch", on("patch", plain), "ka.action = update\n ka.write = true"},
		{"apply of what was not there", on("patch", created), "ka.action = create"},
		{"patch without an answer", on("patch", "}}"), "ka.action = update\n ka.outcome = pending"},
		{"delete", on("delete", plain), "ka.action = delete\n ka.write = true"},
		{"deletecollection", on("deletecollection", plain), "ka.action = delete"},
		{"get", on("get", plain), "ka.action = get\n ka.read = true\n ka.write = false"},
		{"list", on("list", plain), "ka.action = list\n ka.read = true"},
		{"watch", on("watch", plain), "ka.action = watch\n ka.read = true"},
		{"exec by GET", on("get", `,"subresource":"exec"`+plain), "ka.action = connect\n ka.read = false\n ka.write = false"},
		{"exec by POST", on("create", `,"subresource":"exec"`+created), "ka.action = connect\n ka.write = false"},
		{"attach", on("create", `,"subresource":"attach"`+plain), "ka.action = connect"},
		{"portforward", on("create", `,"subresource":"portforward"`+plain), "ka.action = connect"},
		{"proxy", on("delete", `,"subresource":"proxy"`+plain), "ka.action = connect"},
		{"log is read", on("get", `,"subresource":"log"`+plain), "ka.action = get\n ka.read = true"},
		{"eviction is created", on("create", `,"subresource":"eviction"`+created), "ka.action = create"},
		{"no resource", `{"verb":"get","requestURI":"/metrics"}`, "ka.action = get"},
		{"POST to no resource", `{"verb":"post","requestURI":"/x"}`, "ka.action = create"},
		{"PUT to no resource", `{"verb":"put","requestURI":"/x","responseStatus":{"code":201}}`, "ka.action = update"},
		{"a verb of its own", `{"verb":"options"}`, "ka.action = options\n ka.read = false\n ka.write = false"},
		{"no verb", `{}`, "ka.action = <NA>\n ka.read = false\n ka.write = false"},
	})
}

func TestADryRunChangesNothing(t *testing.T) {
	on := func(verb, uri, body string) string {
		return `{"verb":"` + verb + `","requestURI":"` + uri + `","requestObject":` + body + `}`
	}
	dry, wet := "ka.dryrun = true\n ka.write = false", "ka.dryrun = false\n ka.write = true"
	check(t, []row{
		{"by the URI", on("create", "/x?dryRun=All", `{}`), dry},
		{"among others", on("patch", "/x?fieldManager=a&dryRun=All&force=true", `{}`), dry},
		{"encoded", on("create", "/x?dry%52un=%41ll", `{}`), dry},
		{"another value", on("create", "/x?dryRun=", `{}`), wet},
		{"another case", on("create", "/x?dryRun=all", `{}`), wet},
		{"no query", on("create", "/x", `{}`), wet},
		{"not in the body of a creation", on("create", "/x", `{"dryRun":["All"]}`), wet},
		{"in the options of a deletion", on("delete", "/x", `{"kind":"DeleteOptions","dryRun":["All"]}`), dry},
		{"in the options of a collection's deletion", on("deletecollection", "/x", `{"dryRun":["All"]}`), dry},
		{"a deletion without", on("delete", "/x", `{"kind":"DeleteOptions"}`), wet},
		{"the options of a deletion count, and not its query", on("delete", "/x?dryRun=All", `{"kind":"DeleteOptions"}`), wet},
		{"nor that of a collection's deletion", on("deletecollection", "/x?dryRun=All", `{}`), wet},
		{"a deletion without options", `{"verb":"delete","level":"Request","requestURI":"/x?dryRun=All"}`, dry},
		{"a deletion whose options are not recorded", `{"verb":"delete","level":"Metadata","requestURI":"/x?dryRun=All"}`, wet},
	})
}

func TestAScaleToZeroHasNoReplicasInItsAnswer(t *testing.T) {
	on := func(subresource, response string) string {
		return `{"verb":"update","objectRef":{"resource":"deployments","subresource":"` + subresource + `"},"responseObject":` + response + `}`
	}
	check(t, []row{
		{"to zero", on("scale", `{"kind":"Scale","spec":{}}`), "ka.replicas = 0"},
		{"to two", on("scale", `{"kind":"Scale","spec":{"replicas":2}}`), "ka.replicas = 2"},
		{"refused", on("scale", `{"kind":"Status","code":403}`), "ka.replicas = <NA>"},
		{"not a scale", on("", `{"kind":"Deployment","spec":{}}`), "ka.replicas = <NA>"},
	})
}

func TestTheProxysPathBeginsBehindTheName(t *testing.T) {
	on := func(resource, uri string) string {
		return `{"verb":"get","requestURI":"` + uri + `","objectRef":{"resource":"` + resource + `","subresource":"proxy"}}`
	}
	check(t, []row{
		{"a node", on("nodes", "/api/v1/nodes/worker-1/proxy/pods?a=b"), "ka.proxy.path = /pods"},
		{"a node named like it", on("nodes", "/api/v1/nodes/proxy-1/proxy/run"), "ka.proxy.path = /run"},
		{"a node named so", on("nodes", "/api/v1/nodes/proxy/proxy/proxy/x"), "ka.proxy.path = /proxy/x"},
		{"a pod in a namespace named so", on("pods", "/api/v1/namespaces/proxy/pods/https:a:8443/proxy/"), "ka.proxy.path = /"},
		{"nothing behind", on("services", "/api/v1/namespaces/a/services/b/proxy"), "ka.proxy.path = /"},
		{"the old way", on("nodes", "/api/v1/proxy/nodes/worker-1/metrics"), "ka.proxy.path = /metrics"},
		{"another path", on("nodes", "/api/v1/nodes/worker-1"), "ka.proxy.path = <NA>"},
	})
}

func TestTheKindOfAnIdentity(t *testing.T) {
	for name, kind := range map[string]string{
		"jane": "user", "": "user", "system:anonymous": "anonymous", "system:serviceaccount:a:b": "serviceaccount", "system:node:n": "node",
		"system:kube-controller-manager": "system", "system:apiserver": "system", "systemd": "user", "System:node:n": "user", "kubernetes-admin": "user",
	} {
		check(t, []row{
			{name, `{"user":{"username":"` + name + `"},"impersonatedUser":{"username":"` + name + `"}}`, "ka.user.kind = " + kind + "\n ka.impuser.kind = " + kind + "\n ka.actor.kind = " + kind},
		})
	}
	check(t, []row{
		{"no user", `{}`, "ka.user.kind = <NA>\n ka.user.anonymous = false\n ka.user.admin = false\n ka.impersonated = false\n ka.actor.name = <NA>"},
		{"a nameless user nobody knows", `{"user":{"username":"","groups":["system:unauthenticated"]}}`, "ka.user.kind = anonymous\n ka.user.anonymous = true"},
		{
			"impersonated", `{"user":{"username":"jane","groups":["system:masters"]},"impersonatedUser":{"username":"system:serviceaccount:a:b","groups":["g"]}}`,
			"ka.user.admin = true\n ka.actor.name = system:serviceaccount:a:b\n ka.actor.groups = (g)\n ka.impuser.kind = serviceaccount\n ka.user.serviceaccount.name = <NA>",
		},
		{"impersonated by null", `{"user":{"username":"jane"},"impersonatedUser":null}`, "ka.impersonated = false\n ka.actor.name = jane\n ka.impuser.kind = <NA>"},
		{"a service account", `{"user":{"username":"system:serviceaccount:kube-system:x"}}`, "ka.user.serviceaccount.namespace = kube-system\n ka.user.serviceaccount.name = x\n ka.user.system = true"},
		{"another", `{"user":{"username":"system:serviceaccount:kube-systems:x"}}`, "ka.user.system = false"},
		{"half a service account", `{"user":{"username":"system:serviceaccount:x"}}`, "ka.user.serviceaccount.name = <NA>\n ka.user.serviceaccount.namespace = <NA>"},
		{"groups", `{"user":{"groups":["a",7,null,"b"]}}`, "ka.user.in_group[b] = true\n ka.user.in_group[7] = false\n ka.user.in_group[c] = false"},
		{"no groups", `{"user":{}}`, "ka.user.in_group[b] = <NA>\n ka.user.groups = <NA>"},
		{"empty groups", `{"user":{"groups":[]}}`, "ka.user.in_group[b] = false\n ka.user.groups = <NA>"},
	})
}

func TestTheReasonRBACGives(t *testing.T) {
	because := func(reason string) string {
		return `{"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"` + strings.ReplaceAll(reason, `"`, `\"`) + `"}}`
	}
	check(t, []row{
		{"a ClusterRoleBinding", because(`RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"`), "ka.auth.rbac.binding = b\n ka.auth.rbac.role = r\n ka.auth.allowed = true"},
		{"a RoleBinding", because(`RBAC: allowed by RoleBinding "b/ns" of Role "r" to ServiceAccount "s/ns"`), "ka.auth.rbac.binding = b/ns\n ka.auth.rbac.role = r"},
		{"a role named like a binding", because(`RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "Role " to User "u"`), "ka.auth.rbac.binding = x"},
		{"no reason", because(``), "ka.auth.rbac.binding = <NA>\n ka.auth.rbac.role = <NA>\n ka.auth.reason = "},
		{"another authorizer", because(`webhook: allowed by Role "r"`), "ka.auth.rbac.role = <NA>"},
		{"cut", because(`RBAC: allowed by ClusterRoleBinding "b`), "ka.auth.rbac.binding = <NA>"},
		{"nothing", `{}`, "ka.auth.allowed = <NA>\n ka.auth.rbac.role = <NA>"},
		{"forbidden", `{"annotations":{"authorization.k8s.io/decision":"forbid"}}`, "ka.auth.allowed = false"},
	})
}

func TestARequestIsDoneOnce(t *testing.T) {
	for _, verb := range []string{"get", "list", "create", "update", "patch", "delete", "post"} {
		for stage, done := range map[string]string{"RequestReceived": "false", "ResponseStarted": "false", "ResponseComplete": "true", "Panic": "true"} {
			check(t, []row{{verb + " at " + stage, `{"verb":"` + verb + `","stage":"` + stage + `","objectRef":{"resource":"pods"}}`, "ka.done = " + done}})
		}
	}
	for _, long := range []string{
		`"verb":"watch","objectRef":{"resource":"pods"}`, `"verb":"create","objectRef":{"resource":"pods","subresource":"exec"}`, `"verb":"get","objectRef":{"resource":"pods","subresource":"attach"}`,
		`"verb":"get","objectRef":{"resource":"pods","subresource":"portforward"}`, `"verb":"get","objectRef":{"resource":"nodes","subresource":"proxy"}`, `"verb":"get","objectRef":{"resource":"pods","subresource":"log"}`,
	} {
		for stage, done := range map[string]string{"RequestReceived": "false", "ResponseStarted": "true", "ResponseComplete": "false", "Panic": "false"} {
			check(t, []row{{long + " at " + stage, `{` + long + `,"stage":"` + stage + `"}`, "ka.done = " + done}})
		}
	}
	check(t, []row{
		{"a failed authentication", `{"verb":"get","stage":"ResponseStarted","responseStatus":{"code":401}}`, "ka.done = true\n ka.refused = true\n ka.outcome = unauthorized"},
		{"no stage", `{"verb":"get"}`, "ka.done = false"},
	})
}

func TestWhatOnlyLooksLikeCredentials(t *testing.T) {
	data := func(key, value string) string {
		return `{"verb":"create","objectRef":{"resource":"configmaps"},"requestObject":{"data":{"` + key + `":"` + value + `"}}}`
	}
	has := func(what, event, want string) row { return row{what, event, "ka.data.credentials = " + want} }
	check(t, []row{
		has("a password", data("DB_PASSWORD", "hunter2"), "(password)"),
		has("a password in a file", data("app.properties", `db.user=x\ndb.password=hunter2\n`), "(password)"),
		has("a password in YAML", data("app.yaml", `db:\n  password: \"hunter2\"\n`), "(password)"),
		has("a reference to one", data("password", "$(DB_PASSWORD)"), "<NA>"),
		has("a template of one", data("password", "{{ .Values.password }}"), "<NA>"),
		has("a placeholder", data("password", "<changeme>"), "<NA>"),
		has("the file it is in", data("password_file", "/run/secrets/password"), "<NA>"),
		has("a switch", data("password_required", "true"), "<NA>"),
		has("an empty one", data("password", ""), "<NA>"),
		has("a key", data("a", "AKIAIOSFODNN7EXAMPLE"), "(aws-access-key)"),
		has("a key with one more letter", data("a", "AKIAIOSFODNN7EXAMPLEX"), "<NA>"),
		has("a key with one letter less", data("a", "AKIAIOSFODNN7EXAMPL"), "<NA>"),
		has("a key behind what is none", data("a", "AKIAx AKIAIOSFODNN7EXAMPLE"), "(aws-access-key)"),
		has("a private key", data("tls.key", `-----BEGIN RSA PRIVATE KEY-----\nMIIE`), "(private-key)"),
		has("a public key", data("tls.pub", `-----BEGIN PUBLIC KEY-----\nMIIE`), "<NA>"),
		has("a token", data("x", "ghp_0123456789abcdefghij"), "(token)"),
		has("the beginning of one", data("x", "ghp_"), "<NA>"),
		has("in binary data", `{"verb":"create","objectRef":{"resource":"configmaps"},"requestObject":{"binaryData":{"k":"LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t"}}}`, "(private-key)"),
		has("not in a Secret", `{"verb":"create","objectRef":{"resource":"secrets"},"requestObject":{"data":{"password":"aHVudGVyMg=="}}}`, "<NA>"),
		has("in the environment", pod(`"containers":[{"env":[{"name":"MYSQL_ROOT_PASSWORD","value":"hunter2"}]}]`), "(password)"),
		has("from a Secret", pod(`"containers":[{"env":[{"name":"MYSQL_ROOT_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db","key":"p"}}}]}]`), "<NA>"),
		has("in the arguments", pod(`"containers":[{"args":["--password=hunter2"]}]`), "(password)"),
		has("an argument without a value", pod(`"containers":[{"args":["--password"]}]`), "<NA>"),
		has("two kinds, each once", data("a", `password=hunter2\npasswd=hunter3\nAKIAIOSFODNN7EXAMPLE`), "(aws-access-key,password)"),
	})
}

func TestSourceAddressesLieInNetworks(t *testing.T) {
	from := func(ips string) string { return `{"sourceIPs":[` + ips + `]}` }
	check(t, []row{
		{"two of them", from(`"192.0.2.7","10.0.0.1"`), `
			ka.sourceips.in[192.0.2.0/24] = true
			ka.sourceips.in[198.51.100.0/24, 10.0.0.1] = true
			ka.sourceips.in[10.0.0.2] = false
			ka.sourceip.peer.in[192.0.2.0/24] = false
			ka.sourceip.peer.in[10.0.0.0/8] = true
			ka.sourceip.peer.private = true
			ka.sourceips.count = 2
			ka.sourceips[1] = (10.0.0.1)
			ka.sourceips[2] = <NA>`},
		{"six of them", from(`"10.0.0.1","10.0.0.2","10.0.0.3","10.0.0.4","10.0.0.5","198.51.100.1"`), `
			ka.sourceips.in[10.0.0.5] = true
			ka.sourceips.in[10.0.0.1] = true
			ka.sourceip.peer.public = true`},
		{"version 6", from(`"2001:db8::1"`), "ka.sourceips.in[2001:db8::/32] = true\n ka.sourceips.in[10.0.0.0/8] = false"},
		{"version 4 in version 6", from(`"::ffff:10.0.0.1"`), "ka.sourceips.in[10.0.0.0/8] = true\n ka.sourceips.in[::ffff:10.0.0.0/104] = true\n ka.sourceips.in[::ffff:10.0.0.1] = true"},
		{"no address", from(`"unknown",7,null`), "ka.sourceips.in[0.0.0.0/0] = false\n ka.sourceip.peer.private = <NA>\n ka.sourceip.peer.in[0.0.0.0/0] = false"},
		{"none", `{}`, "ka.sourceips.in[0.0.0.0/0] = <NA>\n ka.sourceip = <NA>\n ka.sourceip.peer = <NA>\n ka.sourceips.count = <NA>"},
		{"shared space", from(`"100.64.0.1"`), "ka.sourceip.peer.private = true"},
		{"loopback", from(`"::1"`), "ka.sourceip.peer.private = true\n ka.sourceip.peer.public = false"},
	})
}

func TestArgumentsThatAreRefused(t *testing.T) {
	a := newAsker(t)
	for _, name := range []string{
		"ka.sourceips.in[10.0.0.0/33]", "ka.sourceips.in[10.0.0]", "ka.sourceips.in[]", "ka.sourceips.in[10.0.0.0/8,]", "ka.sourceip.peer.in[example.com]",
		"ka.role.grants[]", "ka.role.grants[get]", "ka.role.grants[get,pods,a,b]", "ka.role.grants[get,/metrics,a]",
		"ka.pod.hostpath.under[etc]", "ka.pod.hostpath.under[]", "ka.pod.hostpath.writable[/etc,var]",
		"ka.value[]", "ka.value[/]", "ka.number[]", "ka.patch.touches[]", "ka.obj.value[/]",
	} {
		bare, arg, _ := strings.Cut(strings.TrimSuffix(name, "]"), "[")
		id, ok := a.table.Find(bare)
		if !ok {
			t.Fatal(name)
		}
		argument, err := a.table[id].ParseArg(arg, true)
		if err != nil {
			t.Fatal(err)
		}
		q, err := a.table.Ask(id, argument)
		if err == nil || !strings.HasPrefix(err.Error(), bare) {
			t.Errorf("%s: %v", name, err)
		}
		a.load(withID(`{"sourceIPs":["10.0.0.1"]}`))
		a.value.Reset()
		if q.Answer(&a.event, &a.value); a.value.Len() != 0 {
			t.Errorf("%s is refused and has a value", name)
		}
	}
}

// What the official plugin yields, where it is not plainly broken.
func TestOfficialFieldsKeepTheirMeaning(t *testing.T) {
	request := func(body string) string { return `{"requestObject":` + body + `}` }
	spec := func(s string) string { return request(`{"spec":{` + s + `}}`) }
	check(t, []row{
		{"absent is no value", `{}`, `
			ka.target.subresource = <NA>
			ka.verb = <NA>
			ka.user.groups = <NA>
			ka.auth.reason = <NA>
			ka.req.pod.host_ipc = <NA>
			ka.req.pod.containers.image = <NA>
			ka.req.container.privileged = <NA>
			ka.req.volume.hostpath[/etc] = <NA>
			ka.response.code = <NA>
			ka.cluster.name = <NA>`},
		{"an empty text is a value", `{"annotations":{"authorization.k8s.io/reason":""},"objectRef":{"subresource":""}}`, "ka.auth.reason = \n ka.target.subresource = "},
		{"an empty list is no value", `{"user":{"groups":[]},"requestObject":{"subjects":[],"rules":[]}}`, "ka.user.groups = <NA>\n ka.req.binding.subjects = <NA>\n ka.req.role.rules = <NA>"},
		{"what is no text is JSON", `{"responseStatus":{"code":200},"requestObject":{"data":{"a": 1},"spec":{"hostPID":false,"type":null,"securityContext":{"runAsUser":0,"fsGroup":7}}}}`, `
			ka.response.code = 200
			ka.req.configmap.obj = {"a":1}
			ka.req.pod.host_pid = false
			ka.req.service.type = null
			ka.req.pod.run_as_user = 0
			ka.req.pod.fs_group = 7`},
		{"the first value of a parameter", `{"requestURI":"/a?b=1&b=2&c=%2F"}`, "ka.uri.param[b] = 1\n ka.uri.param[c] = /\n ka.uri.param[d] = <NA>\n ka.uri = /a?b=1&b=2&c=%2F"},
		{"subjects", request(`{"subjects":[{"kind":"User","name":"a"},{"kind":"ServiceAccount","name":"b"},{"kind":"ServiceAccount","name":"c","namespace":"d"},{"kind":"User"}],"roleRef":{"name":"r"}}`), `
			ka.req.binding.subjects.user_names = (a)
			ka.req.binding.subjects.serviceaccount_names = (b,c)
			ka.req.binding.subjects.serviceaccount_ns_names = (d:c)
			ka.req.binding.subjects.group_names = <NA>
			ka.req.binding.subject.has_name[x] = true
			ka.req.binding.role = r`},
		{"containers without a value are passed over", spec(`"containers":[{"name":"a"},{"securityContext":{"privileged":true}},{"securityContext":{"privileged":false}}]`), `
			ka.req.pod.containers.privileged = (true,false)
			ka.req.pod.containers.privileged[0] = <NA>
			ka.req.pod.containers.privileged[1] = (true)
			ka.req.pod.containers.privileged[9] = <NA>
			ka.req.container.privileged = true
			ka.req.pod.containers.name = (a)`},
		{"none is privileged", spec(`"containers":[{}]`), "ka.req.container.privileged = false\n ka.req.pod.containers.privileged = <NA>"},
		{"commands", spec(`"containers":[{"command":["a","b c"],"args":["d"]},{"command":[]},{}]`), `
			ka.req.pod.containers.command = (a b c)
			ka.req.pod.containers.args = (d)
			ka.req.pod.containers.args[1] = <NA>`},
		{"images", spec(`"containers":[{"image":"reg:5000/a/b:1"},{"image":"c@sha256:1"}]`), `
			ka.req.pod.containers.image = (reg:5000/a/b:1,c@sha256:1)
			ka.req.pod.containers.image[1] = (c@sha256:1)
			ka.req.pod.containers.image.repository = (reg:5000/a/b,c)
			ka.req.container.image = reg:5000/a/b:1
			ka.req.container.image.repository = reg:5000/a/b`},
		{"ports", spec(`"containers":[{"ports":[{"containerPort":1,"hostPort":2},{"containerPort":3}]},{"ports":[{"containerPort":4}]},{}]`), `
			ka.req.pod.containers.host_port = (2,3,4)
			ka.req.pod.containers.host_port[1] = (4)
			ka.req.pod.containers.host_port[2] = <NA>`},
		{"users of containers", spec(`"securityContext":{"runAsUser":5},"containers":[{},{"securityContext":{"runAsUser":6}}]`), `
			ka.req.pod.containers.eff_run_as_user = (5,6)
			ka.req.pod.containers.eff_run_as_user[1] = (6)
			ka.req.pod.containers.eff_run_as_group = (0,0)
			ka.req.pod.containers.run_as_user = (6)`},
		{"volumes", spec(`"volumes":[{"name":"a","hostPath":{"path":"/etc/ssl"}},{"name":"b","secret":{}},{"name":"c","flexVolume":{"driver":"d"}}]`), `
			ka.req.pod.volumes.hostpath = (/etc/ssl)
			ka.req.pod.volumes.hostpath[0] = (/etc/ssl)
			ka.req.pod.volumes.hostpath[1] = <NA>
			ka.req.pod.volumes.volume_type = (hostPath,secret,flexVolume)
			ka.req.pod.volumes.volume_type[1] = (secret)
			ka.req.pod.volumes.flexvolume_driver = (d)
			ka.req.volume.hostpath[/etc/ssl] = true
			ka.req.volume.hostpath[/etc/s*] = true
			ka.req.volume.hostpath[/etc] = false
			ka.req.volume.hostpath[*] = true`},
		{"rules", request(`{"rules":[{"apiGroups":["","apps"],"verbs":["get"]},{"apiGroups":["batch"],"resources":["jobs"]}]}`), `
			ka.req.role.rules.apiGroups = (,apps,batch)
			ka.req.role.rules.apiGroups[1] = (batch)
			ka.req.role.rules.verbs[1] = <NA>
			ka.req.role.rules.resources = (jobs)
			ka.req.role.rules = ({"apiGroups":["","apps"],"verbs":["get"]},{"apiGroups":["batch"],"resources":["jobs"]})`},
		{"the pod of the target", `{"objectRef":{"resource":"pods","name":"a"},"responseObject":{"metadata":{"name":"b"}}}`, "ka.target.pod.name = b\n ka.resp.name = b\n ka.target.name = a"},
		{"a target that is no pod", `{"objectRef":{"resource":"services","name":"a"},"responseObject":{"metadata":{"name":"b"}}}`, "ka.target.pod.name = <NA>"},
		{"the request is read, and not what came of it", `{"verb":"create","requestObject":{"spec":{}},"responseObject":{"spec":{"hostPID":true}}}`, "ka.req.pod.host_pid = <NA>"},
	})
	a := newAsker(t)
	if !a.load([]byte(`{"kind":"Pod","verb":"get"}`)) {
		t.Fatal("not JSON")
	}
	if got := a.ask("ka.verb"); len(got) != 0 {
		t.Errorf("what is no audit event has the verb %q", got)
	}
}
