package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// The manifests of this program are small pieces of YAML put together by the functions below. A piece that does not parse is a
// mistake in this program, hence the panics.

// pod is a pod with the given specification.
func pod(namespace, name, spec string) string {
	return object("v1", "Pod", namespace, name, map[string]any{"spec": piece(spec)})
}

// workload is an object of one of the kinds that make pods.
func workload(kind, namespace, name, podSpec string) string {
	spec := piece(podSpec)
	labels := map[string]any{"app": strings.TrimSuffix(name, "-")}
	template := map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec}
	switch kind {
	case "Job", "CronJob":
		if spec["restartPolicy"] == nil {
			spec["restartPolicy"] = "Never"
		}
		job := map[string]any{"template": template, "backoffLimit": 0}
		if kind == "CronJob" {
			job = map[string]any{"schedule": "17 3 * * *", "jobTemplate": map[string]any{"spec": job}}
		}
		return object("batch/v1", kind, namespace, name, map[string]any{"spec": job})
	case "ReplicationController":
		return object("v1", kind, namespace, name, map[string]any{"spec": map[string]any{"selector": labels, "template": template}})
	default:
		spec := map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": template}
		return object("apps/v1", kind, namespace, name, map[string]any{"spec": spec})
	}
}

// role is a Role, or a ClusterRole if namespace is empty.
func role(namespace, name, rules string) string {
	kind := "ClusterRole"
	if namespace != "" {
		kind = "Role"
	}
	var list []any
	must(yaml.Unmarshal([]byte(rules), &list))
	return object(rbacV1, kind, namespace, name, map[string]any{"rules": list})
}

// binding is a RoleBinding, or a ClusterRoleBinding if namespace is empty. The role is written Kind/name, a subject too; a
// service account is ServiceAccount/namespace/name.
func binding(namespace, name, role string, subjects ...string) string {
	kind := "ClusterRoleBinding"
	if namespace != "" {
		kind = "RoleBinding"
	}
	roleKind, roleName, _ := strings.Cut(role, "/")
	list := []any{}
	for _, s := range subjects {
		list = append(list, subject(s))
	}
	return object(rbacV1, kind, namespace, name, map[string]any{
		"roleRef":  map[string]any{"apiGroup": rbacGroup, "kind": roleKind, "name": roleName},
		"subjects": list,
	})
}

const (
	rbacGroup = "rbac.authorization.k8s.io"
	rbacV1    = rbacGroup + "/v1"
)

func subject(s string) map[string]any {
	kind, name, _ := strings.Cut(s, "/")
	if kind == "ServiceAccount" {
		namespace, account, _ := strings.Cut(name, "/")
		return map[string]any{"kind": kind, "namespace": namespace, "name": account}
	}
	return map[string]any{"apiGroup": rbacGroup, "kind": kind, "name": name}
}

// subjectJSON is a subject for the inside of a patch.
func subjectJSON(s string) string { return asJSON(subject(s)) }

// configMap has data written as YAML.
func configMap(namespace, name, data string) string {
	return object("v1", "ConfigMap", namespace, name, map[string]any{"data": piece(data)})
}

// secret has string data written as YAML.
func secret(namespace, name, kind, data string) string {
	return object("v1", "Secret", namespace, name, map[string]any{"type": kind, "stringData": piece(data)})
}

// service has a specification written as YAML.
func service(namespace, name, spec string) string {
	return object("v1", "Service", namespace, name, map[string]any{"spec": piece(spec)})
}

// bare is an object with nothing but a name.
func bare(apiVersion, kind, namespace, name string) string {
	return object(apiVersion, kind, namespace, name, nil)
}

// object is any object; more holds its members besides those every object has. A name that ends in a hyphen is a prefix for
// the API server to complete.
func object(apiVersion, kind, namespace, name string, more map[string]any) string {
	metadata := map[string]any{"name": name}
	if strings.HasSuffix(name, "-") {
		metadata = map[string]any{"generateName": name}
	}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	for key, value := range more {
		if extra, ok := value.(map[string]any); ok && key == "metadata" {
			for k, v := range extra {
				metadata[k] = v
			}
			continue
		}
		o[key] = value
	}
	return asJSON(o)
}

// piece parses a mapping.
func piece(text string) map[string]any {
	m := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		panic(fmt.Sprintf("piece of a manifest: %v\n%s", err, text))
	}
	return m
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	must(err)
	return string(text)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
