package main

// attackActivity acts out the rules that keep a trail of what people do.
func (d *driver) attackActivity() {
	s := d.scene("K8s Namespace Created")
	s.fires("create", d.mallory).create(bare("v1", "Namespace", "", "trail"))
	s.fires("apply-new", d.admin).apply(bare("v1", "Namespace", "", "trail-applied"))
	s.quiet("apply-existing", d.admin).apply(object("v1", "Namespace", "", "trail-applied", piece(`{metadata: {labels: {a: b}}}`)))
	s.quiet("refused", d.alice).refused().create(bare("v1", "Namespace", "", "trail-alice"))
	s.quiet("dry-run", d.mallory).dryRun().create(bare("v1", "Namespace", "", "trail-dry"))

	s = d.scene("K8s Deployment Created")
	s.fires("create", d.mallory).create(workload("Deployment", "trail", "web", plainPod))
	s.fires("patched", d.mallory).patch(mergePatch, at("apps/v1", "deployments", "trail", "web"), `{metadata: {labels: {a: b}}}`)
	s.quiet("scaled", d.mallory).patch(mergePatch, at("apps/v1", "deployments", "trail", "web", "scale"), `{spec: {replicas: 2}}`)
	s.quiet("statefulset", d.mallory).create(workload("StatefulSet", "trail", "web", plainPod))
	s.quiet("refused", d.alice).refused().create(workload("Deployment", "trail", "alice", plainPod))

	s = d.scene("K8s Service Created")
	s.fires("create", d.mallory).create(service("trail", "web", `{selector: {app: web}, ports: [{port: 80}]}`))
	s.fires("apply-new", d.mallory).apply(service("trail", "web-applied", `{selector: {app: web}, ports: [{port: 80}]}`))
	s.quiet("read", d.mallory).get(at("v1", "services", "trail", "web"))
	s.quiet("refused", d.alice).refused().create(service("trail", "alice", `{selector: {app: web}, ports: [{port: 80}]}`))

	s = d.scene("K8s Service Deleted")
	s.quiet("refused", d.alice).refused().delete(at("v1", "services", "trail", "web"))
	s.quiet("dry-run", d.mallory).dryRun().delete(at("v1", "services", "trail", "web"))
	s.fires("delete", d.mallory).delete(at("v1", "services", "trail", "web"))
	s.fires("deletecollection", d.mallory).delete(at("v1", "services", "trail"))

	s = d.scene("K8s ConfigMap Created")
	s.fires("create", d.mallory).create(configMap("trail", "settings", `{a: b}`))
	s.fires("patched", d.mallory).patch(mergePatch, at("v1", "configmaps", "trail", "settings"), `{data: {a: c}}`)
	s.quiet("read", d.mallory).get(at("v1", "configmaps", "trail", "settings"))
	s.quiet("refused", d.alice).refused().create(configMap("trail", "alice", `{a: b}`))

	s = d.scene("K8s ConfigMap Deleted")
	s.quiet("refused", d.alice).refused().delete(at("v1", "configmaps", "trail", "settings"))
	s.quiet("dry-run", d.mallory).dryRun().delete(at("v1", "configmaps", "trail", "settings"))
	s.fires("delete", d.mallory).delete(at("v1", "configmaps", "trail", "settings"))
	s.fires("deletecollection", d.mallory).delete(at("v1", "configmaps", "trail"))

	s = d.scene("K8s Serviceaccount Changed")
	d.as(d.mallory).create(bare("v1", "ServiceAccount", "trail", "robot"))
	robot := at("v1", "serviceaccounts", "trail", "robot")
	s.fires("annotated", d.admin).patch(mergePatch, robot, `{metadata: {annotations: {a: b}}}`)
	s.fires("apply-existing", d.admin).apply(object("v1", "ServiceAccount", "trail", "robot", piece(`{automountServiceAccountToken: false}`)))
	s.quiet("created", d.mallory).create(bare("v1", "ServiceAccount", "trail", "robot-b"))
	s.quiet("token-requested", d.admin).post(robot+"/token", `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {name: robot, namespace: trail}, spec: {expirationSeconds: 3600}}`)
	s.quiet("read", d.mallory).get(robot)
	s.quiet("refused", d.alice).refused().patch(mergePatch, robot, `{metadata: {annotations: {a: c}}}`)

	s = d.scene("K8s Serviceaccount Deleted")
	s.quiet("refused", d.alice).refused().delete(robot)
	s.quiet("dry-run", d.mallory).dryRun().delete(robot)
	s.fires("delete", d.mallory).delete(robot)
	s.fires("deletecollection", d.admin).with("labelSelector", "app=nobody").delete(at("v1", "serviceaccounts", "trail"))

	s = d.scene("Deprecated API Used")
	s.fires("component-statuses", d.admin).get(at("v1", "componentstatuses", ""))
	s.fires("endpoints", d.mallory).get(at("v1", "endpoints", "lab"))
	s.quiet("endpoint-slices", d.mallory).get(at("discovery.k8s.io/v1", "endpointslices", "lab"))
	s.quiet("pods", d.mallory).get(at("v1", "pods", "trail"))

	s = d.scene("All K8s Audit Events")
	s.fires("create", d.mallory).create(bare("v1", "Namespace", "", "trail-b"))
	s.fires("delete", d.mallory).delete(at("v1", "namespaces", "", "trail-b"))
	s.fires("refused", d.alice).refused().get(at("v1", "pods", "trail"))
	s.received("create")
	s.received("delete")
}
