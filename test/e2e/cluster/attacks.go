package main

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attacks acts out every rule: requests on which it has to fire, and near misses that differ in one respect.
func (d *driver) attacks() {
	d.prepareAttacks()
	for _, act := range []struct {
		name string
		play func(*driver)
	}{
		{"rights", (*driver).attackRights},
		{"pods", (*driver).attackPods},
		{"streams", (*driver).attackStreams},
		{"credentials", (*driver).attackCredentials},
		{"cluster", (*driver).attackCluster},
		{"risky pods", (*driver).attackRiskyPods},
		{"commands", (*driver).attackCommands},
		{"network", (*driver).attackNetwork},
		{"impact", (*driver).attackImpact},
		{"activity", (*driver).attackActivity},
	} {
		if d.ctx.Err() != nil {
			return
		}
		d.log.Info("attacks", "on", act.name)
		act.play(d)
	}
	d.await("the first run of cron job shop/heartbeat", func(ctx context.Context) error {
		c, err := d.admin.clients.BatchV1().CronJobs("shop").Get(ctx, "heartbeat", metav1.GetOptions{})
		if err == nil && c.Status.LastScheduleTime == nil {
			err = errors.New("it has not run yet")
		}
		return err
	})
}

// prepareAttacks gives the attacker rights an outside contractor might have collected, and sets up what is attacked.
func (d *driver) prepareAttacks() {
	d.as(d.admin).create(role("", "contractor", `[
		{apiGroups: [""], resources: [pods, pods/exec, pods/attach, pods/portforward, pods/log, pods/proxy, pods/ephemeralcontainers, services, services/proxy,
			configmaps, events, persistentvolumeclaims], verbs: [get, list, watch, create, update, patch, delete, deletecollection]},
		{apiGroups: [apps, batch], resources: ["*"], verbs: [get, list, watch, create, update, patch, delete]},
		{apiGroups: [""], resources: [secrets, serviceaccounts, nodes, namespaces], verbs: [get, list, watch]},
		{apiGroups: [""], resources: [serviceaccounts/token, serviceaccounts, namespaces], verbs: [create, delete]},
		{apiGroups: [""], resources: [nodes/proxy], verbs: [get, create]},
		{apiGroups: [events.k8s.io], resources: [events], verbs: [get, list, delete, deletecollection]},
		{apiGroups: [rbac.authorization.k8s.io], resources: [roles, clusterroles, rolebindings, clusterrolebindings],
			verbs: [get, list, create, update, patch, delete, escalate, bind]},
		{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests], verbs: [get, create, patch]},
		{apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations], verbs: [get, create, update, patch, delete]}]`))
	d.as(d.admin).create(binding("", "contractors", "ClusterRole/contractor", "Group/contractors"))
	// Somebody who may bind roles, but only those whose rights he has.
	d.as(d.admin).create(role("ci", "binder", `[{apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [create]}]`))
	d.as(d.admin).create(binding("ci", "binder", "Role/binder", "User/ci-bot"))
	d.as(d.admin).create(bare("v1", "Namespace", "", "lab"))

	// A victim to attach to, and a compromised program whose service account may do too much.
	d.as(d.admin).create(bare("v1", "ServiceAccount", "lab", "victim"))
	d.as(d.admin).create(bare("v1", "ServiceAccount", "lab", "reporter"))
	d.as(d.admin).create(role("lab", "reporter", `[
		{apiGroups: [""], resources: [secrets, pods, pods/log], verbs: [get, list, watch]},
		{apiGroups: [""], resources: [pods/exec, serviceaccounts/token], verbs: [create, get]},
		{apiGroups: [batch], resources: [cronjobs], verbs: [create]}]`))
	d.as(d.admin).create(binding("lab", "reporter", "Role/reporter", "ServiceAccount/lab/reporter"))
	d.as(d.admin).create(secret("lab", "database", "Opaque", `{user: app, password: example}`))
	d.as(d.admin).create(pod("lab", "victim", plainPod))
	d.as(d.admin).create(pod("lab", "reporter", `{serviceAccountName: reporter, containers: [{name: app, image: "registry.example.com/reporter:2"}]}`))
	d.await("service account lab/default", func(ctx context.Context) error {
		return d.admin.clients.CoreV1().RESTClient().Get().AbsPath(at("v1", "serviceaccounts", "lab", "default")).Do(ctx).Error()
	})
	d.running("lab", "victim")
}

// plainPod is a pod there is nothing to say against.
const plainPod = `{containers: [{name: app, image: "registry.example.com/shop/web:1.2.0"}]}`

// containers is a pod specification with one container that has the given members besides name and image.
func containers(more string) string {
	return `{containers: [{name: app, image: "registry.example.com/tools:1", ` + more + `}]}`
}
