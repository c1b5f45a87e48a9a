package extract

import "slices"

// A Family is a group of fields that belong together, as docs and the command show them.
type Family struct {
	Title  string
	Doc    string // one sentence
	Fields Table
}

// Families returns all fields by family. A new family is one more entry at the end: the host numbers fields in this
// order.
func Families() []Family {
	return []Family{
		{"Official fields", "The fields of the official plugin, with their names, types and meaning; those named ka.req read the request only.", officialFields},
		{"Official fields, by container", "The fields of the official plugin that exist for each of a pod's three lists of containers; they read the request only.", slices.Concat(
			requestedContainerFields("containers", "containers of the requested pod", true),
			requestedContainerFields("initContainers", "init containers of the requested pod", true),
			requestedContainerFields("ephemeralContainers", "ephemeral containers of the requested pod", false),
		)},
		{"The request as it was", "What else the event says: any value by JSON pointer, the answer, the target, the URI, where the request came from, the patch, what admission noted.", requestFields},
		{"Who", "The user, what kind of identity that is, and the one impersonated.", identityFields},
		{"What was done", "The action and its outcome, and the resulting object: the response if it is recorded, else what the request sent.", actionFields},
		{"The pod", "The resulting pod, or the one that the resulting workload makes: Deployment, DaemonSet, StatefulSet, ReplicaSet, ReplicationController, Job, CronJob, PodTemplate.", podFields},
		{"The pod's containers", "Containers of all three kinds, ordinary ones first, then init, then ephemeral ones; the lists line up, except for mounts, env and env.names.", containerFields},
		{"Streams and proxies", "What exec, attach, port-forward and proxy requests asked for.", connectFields},
		{"Roles and bindings", "What the resulting role grants, and what the resulting binding grants to whom.", rbacFields},
		{"Notices", "What asynchronous events say, by which the plugin tells of delivery itself; of an audit event these fields are never there, and of a notice no others are.", noticeFields},
	}
}

// Fields returns the table of all fields, in the order the host numbers them.
func Fields() Table {
	var t Table
	for _, f := range Families() {
		t = append(t, f.Fields...)
	}
	return t
}
