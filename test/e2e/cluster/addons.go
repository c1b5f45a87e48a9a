package main

import (
	"fmt"
	"net/http"
)

// An addOn is a controller that people install beside Kubernetes.
type addOn struct {
	namespace, account, agent string
	rules                     string // of its cluster role
}

// addOns are those whose daily work looks most like an attack's: they read all secrets, write addresses, nodes and volumes.
var addOns = []addOn{
	{"cert-manager", "cert-manager", "cert-manager-controller/v1.18.2 (linux/amd64) cert-manager/6f3d5c1", `[
		{apiGroups: [""], resources: [secrets, configmaps], verbs: [get, list, watch, create, update, patch, delete]}]`},
	{"kube-system", "ebs-csi-controller-sa", "csi-provisioner/v5.3.0 (linux/amd64) kubernetes/unknown", `[
		{apiGroups: [""], resources: [persistentvolumes, persistentvolumeclaims, persistentvolumeclaims/status, nodes, pods, events, secrets], verbs: [get, list, watch, create, update, patch, delete]},
		{apiGroups: [storage.k8s.io], resources: [storageclasses, csinodes, volumeattachments, volumeattachments/status], verbs: [get, list, watch, create, update, patch, delete]}]`},
	{"kube-system", "calico-node", "calico-node/v3.30.2", `[
		{apiGroups: [""], resources: [pods, nodes, namespaces, serviceaccounts, services, endpoints], verbs: [get, list, watch]},
		{apiGroups: [""], resources: [nodes/status, pods/status], verbs: [patch, update]},
		{apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list, watch]},
		{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}]`},
	{"kube-system", "aws-load-balancer-controller", "elbv2.k8s.aws/v2.13.4 (linux/amd64) kubernetes/unknown", `[
		{apiGroups: [""], resources: [services, services/status, nodes, pods, endpoints, secrets], verbs: [get, list, watch, update, patch]},
		{apiGroups: [networking.k8s.io], resources: [ingresses, ingresses/status], verbs: [get, list, watch, update, patch]}]`},
	{"kube-system", "cluster-autoscaler", "cluster-autoscaler/v0.0.0 (linux/amd64) kubernetes/unknown", `[
		{apiGroups: [""], resources: [nodes, pods, services, namespaces, persistentvolumes, persistentvolumeclaims], verbs: [get, list, watch, update, patch, delete]},
		{apiGroups: [""], resources: [pods/eviction], verbs: [create]},
		{apiGroups: [apps], resources: [daemonsets, replicasets, statefulsets], verbs: [list, watch]},
		{apiGroups: [""], resources: [configmaps], verbs: [get, create, update]}]`},
	{"kube-system", "metrics-server", "metrics-server/v0.8.0 (linux/amd64) kubernetes/unknown", `[
		{apiGroups: [""], resources: [nodes, pods, namespaces, configmaps], verbs: [get, list, watch]},
		{apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]},
		{apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}]`},
	{"argocd", "argocd-application-controller", "argocd-application-controller/v3.1.0", `[
		{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]`},
	{"velero", "velero", "velero-server/v1.16.2 (linux/amd64) 38d8f8d", `[
		{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]`},
}

// installAddOns gives them what they need. Whoever installs something with such rights is told of, so none of this is in
// the recording.
func (d *driver) installAddOns() map[string]*actor {
	d.log.Info("installing add-ons")
	all := map[string]*actor{}
	for i, a := range addOns {
		name := a.namespace + "-" + a.account
		if a.namespace == "argocd" || a.namespace == "velero" {
			d.as(d.admin).create(object("v1", "Namespace", "", a.namespace, nil))
		}
		if a.account != "cert-manager" { // it is there
			d.as(d.admin).create(bare("v1", "ServiceAccount", a.namespace, a.account))
		}
		d.as(d.admin).create(role("", name, a.rules))
		d.as(d.admin).create(binding("", name, "ClusterRole/"+name, "ServiceAccount/"+a.namespace+"/"+a.account))
		all[a.account] = d.tokenOf(a.namespace, a.account, a.agent, fmt.Sprintf("127.0.0.%d", 210+i))
	}
	d.as(d.admin).create(object("v1", "Secret", "shop", "database", piece(`{type: Opaque, stringData: {password: a-password}}`)))
	d.as(d.admin).create(object("storage.k8s.io/v1", "StorageClass", "", "gp3", piece(`{provisioner: ebs.csi.aws.com, parameters: {type: gp3}}`)))
	d.allowed(all["cert-manager"], at("v1", "secrets", ""))
	d.allowed(all["velero"], at("v1", "persistentvolumes", ""))
	return all
}

// addOnsAtWork is what they do all day.
func (d *driver) addOnsAtWork(by map[string]*actor) {
	d.log.Info("add-ons at work")
	certManager := by["cert-manager"]
	for _, resource := range []string{"secrets", "configmaps"} {
		d.as(certManager).with("limit", "500").get(at("v1", resource, ""))
		d.as(certManager).watch(at("v1", resource, ""))
	}
	d.as(certManager).create(secret("shop", "addon-tls", "kubernetes.io/tls", `{tls.crt: "a certificate", tls.key: "a key"}`))
	d.as(certManager).patch(mergePatch, at("v1", "secrets", "shop", "addon-tls"), `{metadata: {annotations: {cert-manager.io/issuer-name: letsencrypt}}}`)
	d.as(certManager).get(at("v1", "secrets", "shop", "addon-tls"))

	storage := by["ebs-csi-controller-sa"]
	d.as(d.alice).create(object("v1", "PersistentVolumeClaim", "shop", "data", piece(`{spec: {storageClassName: gp3, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`)))
	for _, path := range []string{at("v1", "persistentvolumeclaims", ""), at("v1", "persistentvolumes", ""), at("storage.k8s.io/v1", "storageclasses", ""), at("storage.k8s.io/v1", "csinodes", ""), at("storage.k8s.io/v1", "volumeattachments", "")} {
		d.as(storage).get(path)
		d.as(storage).watch(path)
	}
	volume := at("v1", "persistentvolumes", "", "pvc-1f0c")
	d.as(storage).create(object("v1", "PersistentVolume", "", "pvc-1f0c", piece(`{
		metadata: {annotations: {pv.kubernetes.io/provisioned-by: ebs.csi.aws.com}},
		spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Delete, storageClassName: gp3,
			claimRef: {namespace: shop, name: data}, csi: {driver: ebs.csi.aws.com, volumeHandle: vol-0a1b, fsType: ext4}}}`)))
	d.as(storage).patch(mergePatch, volume, `{metadata: {finalizers: [external-provisioner.volume.kubernetes.io/finalizer]}}`)
	attachment := at("storage.k8s.io/v1", "volumeattachments", "", "csi-9d2e")
	d.as(storage).create(object("storage.k8s.io/v1", "VolumeAttachment", "", "csi-9d2e", piece(`{spec: {attacher: ebs.csi.aws.com, nodeName: node-1, source: {persistentVolumeName: pvc-1f0c}}}`)))
	d.as(storage).patch(mergePatch, attachment+"/status", `{status: {attached: true}}`)
	d.as(storage).create(object("v1", "Event", "shop", "provisioned-", piece(`{
		involvedObject: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: shop, name: data},
		reason: ProvisioningSucceeded, message: "Successfully provisioned volume pvc-1f0c", type: Normal, source: {component: ebs.csi.aws.com}}`)))
	d.as(storage).delete(attachment)
	d.as(storage).patch(jsonPatch, volume, `[{op: remove, path: /metadata/finalizers}]`)
	d.as(storage).delete(volume)

	network := by["calico-node"]
	for _, path := range []string{at("v1", "nodes", ""), at("v1", "pods", ""), at("v1", "namespaces", ""), at("networking.k8s.io/v1", "networkpolicies", "")} {
		d.as(network).get(path)
		d.as(network).watch(path)
	}
	d.as(network).patch(strategicPatch, at("v1", "nodes", "", "node-1", "status"), `{status: {conditions: [{type: NetworkUnavailable, status: "False", reason: CalicoIsUp, message: Calico is running on this node}]}}`)
	d.as(network).patch(strategicPatch, at("v1", "pods", "shop", d.aPod("shop", "app=web"), "status"), `{metadata: {annotations: {cni.projectcalico.org/podIP: 10.244.1.7/32}}}`)

	balancer := by["aws-load-balancer-controller"]
	d.as(balancer).get(at("v1", "services", ""))
	d.as(balancer).watch(at("v1", "services", ""))
	d.as(balancer).patch(mergePatch, at("v1", "services", "shop", "web"), `{metadata: {finalizers: [service.k8s.aws/resources]}}`)
	d.as(balancer).patch(mergePatch, at("networking.k8s.io/v1", "ingresses", "shop", "web", "status"), `{status: {loadBalancer: {ingress: [{hostname: k8s-shop-web-0123.eu-central-1.elb.amazonaws.com}]}}}`)

	scaler := by["cluster-autoscaler"]
	for _, path := range []string{at("v1", "nodes", ""), at("v1", "pods", ""), at("apps/v1", "daemonsets", "")} {
		d.as(scaler).get(path)
		d.as(scaler).watch(path)
	}
	d.as(scaler).patch(strategicPatch, at("v1", "nodes", "", "node-1"), `{spec: {taints: [{key: DeletionCandidateOfClusterAutoscaler, value: "1767225600", effect: PreferNoSchedule}]}}`)
	d.as(scaler).patch(mergePatch, at("v1", "nodes", "", "node-1"), `{spec: {taints: null}}`)
	d.as(scaler).create(configMap("kube-system", "cluster-autoscaler-status", `{status: "Cluster-wide: Healthy"}`))

	metrics := by["metrics-server"]
	d.as(metrics).get(at("v1", "nodes", ""))
	d.as(metrics).watch(at("v1", "pods", ""))
	d.as(metrics).create(`{apiVersion: authentication.k8s.io/v1, kind: TokenReview, metadata: {}, spec: {token: not-a-token}}`)
	d.as(metrics).create(`{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, metadata: {}, spec: {user: alice, resourceAttributes: {verb: list, group: metrics.k8s.io, resource: pods}}}`)

	deployer := by["argocd-application-controller"]
	d.as(deployer).get(at("v1", "secrets", "argocd"))
	d.as(deployer).watch(at("v1", "secrets", "argocd"))
	for _, path := range []string{at("apps/v1", "deployments", ""), at("v1", "services", ""), at("v1", "configmaps", ""), at("batch/v1", "jobs", "")} {
		d.as(deployer).with("limit", "500").get(path)
		d.as(deployer).watch(path)
	}
	d.as(deployer).with("fieldManager", "argocd-controller").apply(configMap("shop", "cart-settings", `{LOG_LEVEL: info}`))
	d.as(deployer).with("fieldManager", "argocd-controller").apply(workload("Deployment", "shop", "cart", app("cart", "cart-settings", 1)))
	d.as(deployer).with("fieldManager", "argocd-controller").apply(service("shop", "cart", `{selector: {app: cart}, ports: [{port: 80, targetPort: http, name: http}]}`))
	d.rolledOut("shop", "cart", 1)

	backup := by["velero"]
	for _, resource := range []string{"namespaces", "pods", "services", "configmaps", "secrets", "serviceaccounts", "persistentvolumes", "persistentvolumeclaims"} {
		d.as(backup).with("limit", "500").get(at("v1", resource, ""))
	}
	d.as(backup).with("limit", "500").get(at("rbac.authorization.k8s.io/v1", "clusterroles", ""))
	d.as(backup).answers(http.StatusNotFound).get(at("v1", "configmaps", "velero", "fs-restore-action-config"))
}
