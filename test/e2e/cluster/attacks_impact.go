package main

import (
	"context"
	"net/http"
)

// attackImpact acts out the rules about destroying things and taking them out of service.
func (d *driver) attackImpact() {
	d.as(d.admin).create(customResource("Backup", "backups", "velero.io"))
	snapshots := piece(customResource("VolumeSnapshot", "volumesnapshots", "snapshot.storage.k8s.io"))
	snapshots["metadata"].(map[string]any)["annotations"] = piece(`{api-approved.kubernetes.io: "https://github.com/kubernetes-csi/external-snapshotter/pull/814"}`)
	d.as(d.admin).create(asJSON(snapshots))
	d.storageDestroyed()
	d.workloadsDeleted()
	d.nodesHandled()
	d.limitsRemoved()
}

func (d *driver) storageDestroyed() {
	volume := func(name string) string {
		return object("v1", "PersistentVolume", "", name, piece(`{spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Retain, storageClassName: none, hostPath: {path: /data/a}}}`))
	}
	claim := func(name string) string {
		return object("v1", "PersistentVolumeClaim", "lab", name, piece(`{spec: {accessModes: [ReadWriteOnce], storageClassName: none-such, resources: {requests: {storage: 1Gi}}}}`))
	}
	for _, group := range []string{"velero.io/v1/namespaces/lab/backups", "snapshot.storage.k8s.io/v1/namespaces/lab/volumesnapshots"} {
		d.await(group, func(ctx context.Context) error {
			return d.admin.clients.CoreV1().RESTClient().Get().AbsPath("/apis/" + group).Do(ctx).Error()
		})
	}
	d.as(d.mallory).create(object("velero.io/v1", "Backup", "lab", "nightly", nil))
	d.as(d.mallory).create(object("snapshot.storage.k8s.io/v1", "VolumeSnapshot", "lab", "nightly", nil))
	d.as(d.mallory).create(volume("pv-doomed"))
	for _, name := range []string{"claim-a", "claim-b", "claim-c"} {
		d.as(d.mallory).create(claim(name))
	}
	claims := at("v1", "persistentvolumeclaims", "lab")
	s := d.scene("Volume Claim Deleted")
	s.quiet("refused", d.alice).refused().delete(claims + "/claim-a")
	s.quiet("read", d.mallory).get(claims + "/claim-a")
	s.quiet("configmap", d.mallory).delete(at("v1", "configmaps", "lab", "from-afar"))
	s.fires("delete", d.mallory).delete(claims + "/claim-a")

	s = d.scene("Storage or Backups Destroyed")
	s.quiet("dry-run", d.mallory).dryRun().delete(at("v1", "persistentvolumes", "", "pv-doomed"))
	s.quiet("refused", d.alice).refused().delete(at("v1", "persistentvolumes", "", "pv-doomed"))
	s.quiet("read", d.mallory).get(at("v1", "persistentvolumes", "", "pv-doomed"))
	s.quiet("one-claim", d.mallory).delete(claims + "/claim-b")
	s.quiet("not-found", d.mallory).answers(http.StatusNotFound).delete(at("v1", "persistentvolumes", "", "pv-none"))
	s.fires("volume", d.mallory).delete(at("v1", "persistentvolumes", "", "pv-doomed"))
	s.fires("claims", d.mallory).delete(claims)
	s.fires("backup", d.mallory).delete(at("velero.io/v1", "backups", "lab", "nightly"))
	s.fires("snapshot", d.mallory).delete(at("snapshot.storage.k8s.io/v1", "volumesnapshots", "lab", "nightly"))
	s.fires("backups-pretended-dry-run", d.mallory).deletePretending(at("velero.io/v1", "backups", "lab"))

	s = d.scene("Protected Namespace Deleted")
	s.quiet("refused", d.alice).refused().delete(at("v1", "namespaces", "", "cattle-system"))
	s.quiet("dry-run", d.mallory).dryRun().delete(at("v1", "namespaces", "", "cattle-system"))
	d.as(d.admin).create(bare("v1", "Namespace", "", "cattle"))
	s.quiet("another", d.mallory).delete(at("v1", "namespaces", "", "cattle"))
	s.fires("pretended-dry-run", d.mallory).deletePretending(at("v1", "namespaces", "", "cattle-system"))
}

func (d *driver) workloadsDeleted() {
	for _, name := range []string{"deleted-a", "deleted-b", "deleted-c"} {
		d.as(d.mallory).create(workload("Deployment", "lab", name, plainPod))
	}
	d.as(d.admin).create(workload("Deployment", "kube-system", "deleted-addon", plainPod))
	d.as(d.mallory).create(workload("ReplicationController", "lab", "deleted-rc", plainPod))
	path := func(name string) string { return at("apps/v1", "deployments", "lab", name) }
	s := d.scene("K8s Deployment Deleted")
	s.quiet("refused", d.alice).refused().delete(path("deleted-a"))
	s.quiet("dry-run", d.mallory).dryRun().delete(path("deleted-a"))
	s.quiet("not-found", d.mallory).answers(http.StatusNotFound).delete(path("deleted-z"))
	s.quiet("scaled", d.mallory).patch(mergePatch, path("deleted-a")+"/scale", `{spec: {replicas: 2}}`)
	s.fires("deployment", d.mallory).delete(path("deleted-a"))
	s.fires("by-a-pipeline", d.admin).delete(path("deleted-b"))
	s.fires("replicationcontroller", d.mallory).delete(at("v1", "replicationcontrollers", "lab", "deleted-rc"))
	s.observed("the garbage collector or a controller deleting a replica set", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:generic-garbage-collector" && e.Verb == "delete" && e.ObjectRef.Resource == "replicasets"
	})
	s.quiet("pod", d.mallory).delete(at("v1", "pods", "lab", "lost"))

	s = d.scene("Workloads Deleted in Bulk")
	s.quiet("refused", d.alice).refused().delete(at("apps/v1", "deployments", "lab"))
	s.quiet("dry-run", d.admin).dryRun().delete(at("apps/v1", "deployments", "lab"))
	s.quiet("one", d.mallory).delete(path("deleted-c"))
	s.quiet("pods", d.admin).with("labelSelector", "app=nobody").delete(at("v1", "pods", "lab"))
	s.fires("collection", d.admin).with("labelSelector", "app=nobody").delete(at("apps/v1", "deployments", "lab"))
	s.fires("pretended-dry-run", d.admin).with("labelSelector", "app=nobody").deletePretending(at("apps/v1", "statefulsets", "lab"))
	s.fires("collection-of-jobs", d.admin).with("labelSelector", "app=nobody").delete(at("batch/v1", "jobs", "lab"))
	s.fires("in-kube-system", d.mallory).delete(at("apps/v1", "deployments", "kube-system", "deleted-addon"))

	s = d.scene("Workload Scaled to Zero")
	for _, name := range []string{"scaled-a", "scaled-b", "scaled-c"} {
		d.as(d.mallory).create(workload("Deployment", "lab", name, plainPod))
	}
	d.as(d.mallory).create(workload("CronJob", "lab", "suspended", plainPod))
	s.quiet("to-two", d.mallory).patch(mergePatch, path("scaled-a")+"/scale", `{spec: {replicas: 2}}`)
	s.quiet("refused", d.alice).refused().patch(mergePatch, path("scaled-a")+"/scale", `{spec: {replicas: 0}}`)
	s.quiet("dry-run", d.mallory).dryRun().patch(mergePatch, path("scaled-a")+"/scale", `{spec: {replicas: 0}}`)
	s.fires("scale", d.mallory).patch(mergePatch, path("scaled-a")+"/scale", `{spec: {replicas: 0}}`)
	s.fires("merge-patch", d.mallory).patch(mergePatch, path("scaled-b"), `{spec: {replicas: 0}}`)
	s.fires("json-patch", d.mallory).patch(jsonPatch, path("scaled-c"), `[{op: replace, path: /spec/replicas, value: 0}]`)
	s.fires("suspended", d.mallory).patch(mergePatch, at("batch/v1", "cronjobs", "lab", "suspended"), `{spec: {suspend: true}}`)
	s.quiet("label-of-what-is-at-zero", d.mallory).patch(mergePatch, path("scaled-b"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("created-at-zero", d.mallory).create(workloadWith(workload("Deployment", "lab", "scaled-born", plainPod), `{replicas: 0}`))
}

func (d *driver) nodesHandled() {
	for _, name := range []string{"spare-a", "spare-b", "spare-c"} {
		d.as(d.admin).create(object("v1", "Node", "", name, piece(`{metadata: {labels: {node-role.kubernetes.io/worker: ""}}, spec: {unschedulable: true}}`)))
	}
	d.as(d.admin).create(object("v1", "Node", "", "spare-cp", piece(`{metadata: {labels: {node-role.kubernetes.io/control-plane: ""}},
		spec: {unschedulable: true, taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]}}`)))
	spare := at("v1", "nodes", "", "spare-a")
	s := d.scene("Node Cordoned Drained or Tainted")
	s.fires("uncordoned", d.mallory).patch(strategicPatch, at("v1", "nodes", "", "spare-b"), `{spec: {unschedulable: null}}`)
	s.fires("cordoned", d.mallory).patch(strategicPatch, at("v1", "nodes", "", "spare-b"), `{spec: {unschedulable: true}}`)
	s.fires("tainted", d.admin).patch(strategicPatch, spare, `{spec: {taints: [{key: example.com/drain, effect: NoExecute}]}}`)
	s.fires("labelled", d.admin).patch(mergePatch, spare, `{metadata: {labels: {example.com/pool: special}}}`)
	d.as(d.mallory).create(pod("lab", "evicted", plainPod))
	d.running("lab", "evicted")
	eviction := object("policy/v1", "Eviction", "lab", "evicted", nil)
	s.quiet("eviction-refused", d.alice).refused().post(at("v1", "pods", "lab", "evicted", "eviction"), eviction)
	s.fires("evicted", d.mallory).post(at("v1", "pods", "lab", "evicted", "eviction"), eviction)
	s.quiet("read", d.mallory).get(spare)
	s.quiet("annotated", d.admin).patch(mergePatch, spare, `{metadata: {annotations: {note: none}}}`)
	s.quiet("refused", d.alice).refused().patch(mergePatch, spare, `{spec: {unschedulable: true}}`)
	s.quiet("dry-run", d.mallory).dryRun().patch(mergePatch, spare, `{spec: {unschedulable: false}}`)
	s.observed("the node controller or the kubelet writing a node", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:node-controller" && e.Verb == "patch" && e.ObjectRef.Resource == "nodes" && e.ObjectRef.Subresource == ""
	})

	s = d.scene("Node Status or Control-Plane Role Forged")
	s.fires("status", d.mallory).patch(strategicPatch, spare+"/status", `{status: {capacity: {cpu: "512"}, allocatable: {cpu: "512"}}}`)
	s.fires("control-plane-label", d.mallory).patch(mergePatch, spare, `{metadata: {labels: {node-role.kubernetes.io/control-plane: ""}}}`)
	s.fires("control-plane-taint-removed", d.mallory).patch(jsonPatch, at("v1", "nodes", "", "spare-cp"), `[{op: replace, path: /spec/taints, value: []}]`)
	s.quiet("another-label", d.mallory).patch(mergePatch, at("v1", "nodes", "", "spare-b"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("another-taint", d.mallory).patch(mergePatch, at("v1", "nodes", "", "spare-b"), `{spec: {taints: [{key: example.com/x, effect: NoSchedule}]}}`)
	s.quiet("refused", d.alice).refused().patch(strategicPatch, spare+"/status", `{status: {capacity: {cpu: "512"}}}`)
	s.quiet("dry-run", d.mallory).dryRun().patch(strategicPatch, spare+"/status", `{status: {capacity: {cpu: "512"}}}`)
	s.observed("the kubelet reporting its node", func(e *event) bool {
		return e.User.Username == "system:node:"+nodeName && e.ObjectRef.Resource == "nodes" && e.ObjectRef.Subresource == "status" && e.Verb == "patch"
	})

	s = d.scene("Node Deleted")
	s.quiet("refused", d.alice).refused().delete(spare)
	s.quiet("dry-run", d.mallory).dryRun().delete(spare)
	s.quiet("not-found", d.mallory).answers(http.StatusNotFound).delete(at("v1", "nodes", "", "spare-z"))
	s.fires("delete", d.mallory).delete(spare)
	s.fires("collection", d.admin).with("labelSelector", "node-role.kubernetes.io/worker").delete(at("v1", "nodes", ""))
}

func (d *driver) limitsRemoved() {
	s := d.scene("Quota or Limit Changed or Removed")
	d.as(d.admin).create(object("v1", "ResourceQuota", "lab", "quota", piece(`{spec: {hard: {services: "2000"}}}`)))
	d.as(d.admin).create(object("v1", "LimitRange", "lab", "limits", piece(`{spec: {limits: [{type: Container, max: {memory: 64Gi}}]}}`)))
	quota, limits := at("v1", "resourcequotas", "lab", "quota"), at("v1", "limitranges", "lab", "limits")
	s.fires("quota-patched", d.mallory).patch(mergePatch, quota, `{spec: {hard: {services: "100000"}}}`)
	s.fires("limits-apply", d.admin).apply(object("v1", "LimitRange", "lab", "limits", piece(`{spec: {limits: [{type: Container, max: {memory: 640Gi}}]}}`)))
	s.quiet("read", d.mallory).get(quota)
	s.quiet("refused", d.alice).refused().delete(quota)
	s.quiet("dry-run", d.mallory).dryRun().delete(quota)
	s.quiet("created", d.admin).create(object("v1", "ResourceQuota", "lab", "quota-b", piece(`{spec: {hard: {services: "2000"}}}`)))
	s.fires("limits-deleted", d.mallory).delete(limits)
	s.fires("quotas-deleted", d.mallory).delete(at("v1", "resourcequotas", "lab"))
	s.observed("the quota controller writing what is used", func(e *event) bool {
		return e.ObjectRef.Resource == "resourcequotas" && e.ObjectRef.Subresource == "status"
	})

	s = d.scene("Destruction Refused")
	s.fires("namespace", d.alice).refused().delete(at("v1", "namespaces", "", "lab"))
	s.fires("node", d.alice).refused().delete(at("v1", "nodes", "", nodeName))
	s.fires("volume", d.alice).refused().delete(at("v1", "persistentvolumes", "", "pv-data"))
	s.fires("backup", d.alice).refused().delete(at("velero.io/v1", "backups", "lab"))
	s.fires("deployment", d.alice).refused().delete(at("apps/v1", "deployments", "lab", "scaled-a"))
	s.fires("node-patched", d.alice).refused().patch(mergePatch, at("v1", "nodes", "", nodeName), `{spec: {unschedulable: true}}`)
	s.fires("node-by-another-node", d.node).refused().patch(mergePatch, at("v1", "nodes", "", "spare-cp", "status"), `{status: {capacity: {cpu: "1"}}}`)
	s.quiet("read", d.alice).refused().get(at("v1", "nodes", ""))
	s.quiet("configmap", d.alice).refused().delete(at("v1", "configmaps", "lab", "coredns"))
	s.quiet("allowed", d.alice).delete(at("v1", "configmaps", "shop", "web-settings"))
}
