package extract

import (
	"bytes"

	"kaudit/pkg/audit"
)

// Who made the request, and as whom.
var identityFields = Table{
	{"ka.user.uid", "UID of the user who made the request.", NoArg, "", at(audit.User, "uid"),
		Example{`{"user":{"uid":"42"}}`, "", "42"}},
	{"ka.user.groups.joined", "Groups of the user in one text.", NoArg, "", joined(each(audit.User, "groups")),
		Example{`{"user":{"groups":["dev","ops"]}}`, "", "dev ops"}},
	{"ka.user.in_group", "Whether the user is in a group.", RequiredKey, "name of the group",
		Extractor{Type: Bool, read: func(e *Event, a *Argument, out *Value) {
			if groups := e.Get(audit.User).Get("groups"); groups.IsArray() {
				out.AddBool(groups.Has(a.Key))
			}
		}},
		Example{`{"user":{"groups":["dev","ops"]}}`, "ops", "true"}},
	{"ka.user.extra", "Values of an extra attribute of the user, by its key.", RequiredKey, "key of the attribute",
		textsFor(func(e *Event, key string, out *Value) { out.AddNodes(e.Get(audit.User).Get("extra").Get(key)) }),
		Example{`{"user":{"extra":{"arn":["arn:aws:iam::1:user/jane"]}}}`, "arn", "(arn:aws:iam::1:user/jane)"}},
	{"ka.user.extra.keys", "Keys of the user's extra attributes.", NoArg, "",
		texts(func(e *Event, out *Value) { addKeys(e.Get(audit.User).Get("extra"), out) }),
		Example{`{"user":{"extra":{"arn":["x"],"accessKeyId":["y"]}}}`, "", "(arn,accessKeyId)"}},
	{"ka.user.credential", "Id of the credential used, such as the JTI of a service account token.", NoArg, "", extra("authentication.kubernetes.io/credential-id"),
		Example{`{"user":{"extra":{"authentication.kubernetes.io/credential-id":["JTI=7c"]}}}`, "", "JTI=7c"}},
	{"ka.user.pod", "Name of the pod whose service account token was used.", NoArg, "", extra("authentication.kubernetes.io/pod-name"),
		Example{`{"user":{"extra":{"authentication.kubernetes.io/pod-name":["web-1"]}}}`, "", "web-1"}},
	{"ka.user.node", "Node the request's credential belongs to: of a kubelet, or of the pod whose token was used.", NoArg, "",
		text(func(e *Event, out *Value) {
			if node, ok := bytes.CutPrefix(e.Get(audit.User).Get("username").Bytes(), []byte("system:node:")); ok {
				out.AddText(node)
				return
			}
			out.AddNode(e.Get(audit.User).Get("extra").Get("authentication.kubernetes.io/node-name").At(0))
		}),
		Example{`{"user":{"username":"system:node:worker-1"}}`, "", "worker-1"}},
	{"ka.user.kind", "Kind of identity: anonymous, serviceaccount, node, system (a control-plane component) or user.", NoArg, "",
		text(func(e *Event, out *Value) { addKind(e.Get(audit.User), out) }),
		Example{`{"user":{"username":"system:serviceaccount:build:ci"}}`, "", "serviceaccount"}},
	{"ka.user.serviceaccount.name", "Name of the service account that made the request.", NoArg, "", serviceAccount(1),
		Example{`{"user":{"username":"system:serviceaccount:build:ci"}}`, "", "ci"}},
	{"ka.user.serviceaccount.namespace", "Namespace of the service account that made the request.", NoArg, "", serviceAccount(0),
		Example{`{"user":{"username":"system:serviceaccount:build:ci"}}`, "", "build"}},
	{"ka.user.anonymous", "Whether the request was made by nobody known.", NoArg, "",
		whether(func(e *Event) bool {
			u := e.Get(audit.User)
			return u.Get("username").Is("system:anonymous") || u.Get("groups").Has("system:unauthenticated")
		}),
		Example{`{"user":{"username":"system:anonymous","groups":["system:unauthenticated"]}}`, "", "true"}},
	{"ka.user.admin", "Whether the user is in system:masters, which is above all rules.", NoArg, "",
		whether(func(e *Event) bool { return e.Get(audit.User).Get("groups").Has("system:masters") }),
		Example{`{"user":{"groups":["system:masters"]}}`, "", "true"}},
	{"ka.user.system", "Whether the request was made by Kubernetes itself: a control-plane component, a node, or a service account of kube-system.", NoArg, "",
		whether(func(e *Event) bool {
			name := e.Get(audit.User).Get("username").Bytes()
			switch kindOf(name, e.Get(audit.User)) {
			case "node", "system":
				return true
			}
			return bytes.HasPrefix(name, []byte("system:serviceaccount:kube-system:"))
		}),
		Example{`{"user":{"username":"system:kube-controller-manager"}}`, "", "true"}},
	{"ka.impuser.uid", "UID of the user the request impersonated.", NoArg, "", at(audit.ImpersonatedUser, "uid"),
		Example{`{"impersonatedUser":{"username":"jane","uid":"42"}}`, "", "42"}},
	{"ka.impuser.groups", "Groups of the user the request impersonated.", NoArg, "", each(audit.ImpersonatedUser, "groups"),
		Example{`{"impersonatedUser":{"groups":["system:masters"]}}`, "", "(system:masters)"}},
	{"ka.impuser.extra", "Values of an extra attribute of the user the request impersonated, by its key.", RequiredKey, "key of the attribute",
		textsFor(func(e *Event, key string, out *Value) {
			out.AddNodes(e.Get(audit.ImpersonatedUser).Get("extra").Get(key))
		}),
		Example{`{"impersonatedUser":{"extra":{"scopes":["view"]}}}`, "scopes", "(view)"}},
	{"ka.impuser.kind", "Kind of the identity the request impersonated, as in ka.user.kind.", NoArg, "",
		text(func(e *Event, out *Value) {
			if e.Has(audit.ImpersonatedUser) {
				addKind(e.Get(audit.ImpersonatedUser), out)
			}
		}),
		Example{`{"impersonatedUser":{"username":"system:node:worker-1"}}`, "", "node"}},
	{"ka.impersonated", "Whether the request was made in another's name.", NoArg, "",
		whether(func(e *Event) bool { return e.Get(audit.ImpersonatedUser).IsObject() }),
		Example{`{"impersonatedUser":{"username":"jane"}}`, "", "true"}},
	{"ka.actor.name", "Name whose rights the request used: the impersonated user's, else the user's own.", NoArg, "",
		text(func(e *Event, out *Value) { out.AddNode(e.actor().Get("username")) }),
		Example{`{"user":{"username":"jane"},"impersonatedUser":{"username":"root"}}`, "", "root"}},
	{"ka.actor.kind", "Kind of the identity whose rights the request used, as in ka.user.kind.", NoArg, "",
		text(func(e *Event, out *Value) { addKind(e.actor(), out) }),
		Example{`{"user":{"username":"jane"},"impersonatedUser":{"username":"system:serviceaccount:a:b"}}`, "", "serviceaccount"}},
	{"ka.actor.groups", "Groups whose rights the request used.", NoArg, "",
		texts(func(e *Event, out *Value) { out.AddNodes(e.actor().Get("groups")) }),
		Example{`{"user":{"groups":["dev"]},"impersonatedUser":{"groups":["system:masters"]}}`, "", "(system:masters)"}},
}

// actor returns the user whose rights the request used.
func (e *Event) actor() audit.Node {
	if u := e.Get(audit.ImpersonatedUser); u.IsObject() {
		return u
	}
	return e.Get(audit.User)
}

// extra yields the first value of one of the user's extra attributes.
func extra(key string) Extractor {
	return text(func(e *Event, out *Value) { out.AddNode(e.Get(audit.User).Get("extra").Get(key).At(0)) })
}

var serviceAccountPrefix = []byte("system:serviceaccount:")

// kindOf tells the kind of an identity by its name (kubernetes/kubernetes: the names under "system:" are reserved).
func kindOf(name []byte, user audit.Node) string {
	switch {
	case string(name) == "system:anonymous", len(name) == 0 && user.Get("groups").Has("system:unauthenticated"):
		return "anonymous"
	case bytes.HasPrefix(name, serviceAccountPrefix):
		return "serviceaccount"
	case bytes.HasPrefix(name, []byte("system:node:")):
		return "node"
	case bytes.HasPrefix(name, []byte("system:")):
		return "system"
	}
	return "user"
}

func addKind(user audit.Node, out *Value) {
	if name := user.Get("username"); name.Exists() {
		out.AddString(kindOf(name.Bytes(), user))
	}
}

// serviceAccount yields the namespace (0) or the name (1) in the name of a service account's user.
func serviceAccount(part int) Extractor {
	return text(func(e *Event, out *Value) {
		rest, ok := bytes.CutPrefix(e.Get(audit.User).Get("username").Bytes(), serviceAccountPrefix)
		if namespace, name, whole := bytes.Cut(rest, []byte{':'}); ok && whole {
			out.AddText([2][]byte{namespace, name}[part])
		}
	})
}
