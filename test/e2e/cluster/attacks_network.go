package main

import "net/http"

// attackNetwork acts out the rules about what is exposed and whose traffic goes where, and about who asks from where.
func (d *driver) attackNetwork() {
	d.exposedServices()
	d.interceptedTraffic()
	d.ingressRules()
	d.hostileAddresses()
	d.accessProxy()
}

func (d *driver) exposedServices() {
	with := func(kind, more string) string {
		return `{type: ` + kind + `, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]` + more + `}`
	}
	annotated := func(name, annotation string) string {
		return object("v1", "Service", "lab", name, map[string]any{"metadata": piece(`{annotations: {` + annotation + `}}`), "spec": piece(with("LoadBalancer", ""))})
	}
	s := d.scene("Create Public Load Balancer Service")
	s.fires("create", d.mallory).create(service("lab", "public", with("LoadBalancer", "")))
	s.fires("apply-new", d.mallory).apply(service("lab", "public-applied", with("LoadBalancer", "")))
	s.fires("open-range", d.mallory).create(service("lab", "public-range", with("LoadBalancer", `, loadBalancerSourceRanges: [10.0.0.0/8, 0.0.0.0/0]`)))
	s.fires("halves-of-the-internet", d.mallory).create(service("lab", "public-halves", with("LoadBalancer", `, loadBalancerSourceRanges: [0.0.0.0/1, 128.0.0.0/1]`)))
	d.as(d.mallory).create(service("lab", "public-turned", with("ClusterIP", "")))
	s.fires("strategic-patch", d.mallory).patch(strategicPatch, at("v1", "services", "lab", "public-turned"), `{spec: {type: LoadBalancer}}`)
	d.as(d.mallory).create(service("lab", "public-ranges", with("LoadBalancer", `, loadBalancerSourceRanges: [10.0.0.0/8]`)))
	s.fires("ranges-removed", d.mallory).patch(jsonPatch, at("v1", "services", "lab", "public-ranges"), `[{op: remove, path: /spec/loadBalancerSourceRanges}]`)
	s.quiet("internal-aws", d.mallory).create(annotated("internal-aws", `service.beta.kubernetes.io/aws-load-balancer-scheme: internal`))
	s.quiet("internal-azure", d.mallory).create(annotated("internal-azure", `service.beta.kubernetes.io/azure-load-balancer-internal: "true"`))
	s.quiet("limited", d.mallory).create(service("lab", "limited", with("LoadBalancer", `, loadBalancerSourceRanges: [10.0.0.0/8]`)))
	s.quiet("label-of-a-public-one", d.mallory).patch(mergePatch, at("v1", "services", "lab", "public"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("nodeport", d.mallory).create(service("lab", "public-nodeport", with("NodePort", "")))
	s.quiet("refused", d.alice).refused().create(service("lab", "public-alice", with("LoadBalancer", "")))
	s.quiet("dry-run", d.mallory).dryRun().create(service("lab", "public-dry", with("LoadBalancer", "")))

	s = d.scene("Admin Interface or Data Store Exposed")
	s.fires("name", d.mallory).create(service("lab", "kubernetes-dashboard", with("NodePort", "")))
	s.fires("port", d.mallory).create(service("lab", "cache", `{type: LoadBalancer, selector: {app: cache}, ports: [{port: 6379}]}`))
	s.fires("target-port", d.mallory).apply(service("lab", "front", `{type: NodePort, selector: {app: front}, ports: [{port: 80, targetPort: 9200}]}`))
	s.fires("selector", d.mallory).create(service("lab", "open-shop", `{type: NodePort, selector: {app.kubernetes.io/name: grafana}, ports: [{port: 80}]}`))
	d.as(d.mallory).create(service("lab", "redis", `{selector: {app: redis}, ports: [{port: 6379}]}`))
	s.fires("merge-patch", d.mallory).patch(mergePatch, at("v1", "services", "lab", "redis"), `{spec: {type: NodePort}}`)
	s.fires("ingress", d.mallory).create(ingress("argo", "", `rules: [{host: argo.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: argocd-server, port: {number: 80}}}}]}}]`))
	s.fires("ingress-default-backend", d.mallory).create(ingress("board", "", `defaultBackend: {service: {name: kubernetes-dashboard, port: {number: 443}}}`))
	s.quiet("inside", d.mallory).create(service("lab", "postgres", `{selector: {app: postgres}, ports: [{port: 5432}]}`))
	s.quiet("another-service", d.mallory).create(service("lab", "web-open", with("NodePort", "")))
	s.quiet("ingress-to-another", d.mallory).create(ingress("web", "", tlsFor+webRule))
	s.quiet("refused", d.alice).refused().create(service("lab", "grafana", with("NodePort", "")))
	s.quiet("dry-run", d.mallory).dryRun().create(service("lab", "grafana", with("NodePort", "")))
}

// ingress has annotations and a specification written as YAML.
func ingress(name, annotations, spec string) string {
	return object("networking.k8s.io/v1", "Ingress", "lab", name, map[string]any{
		"metadata": piece(`{annotations: {` + annotations + `}}`), "spec": piece(`{` + spec + `}`),
	})
}

const (
	tlsFor  = `tls: [{hosts: [lab.example.com], secretName: lab-tls}], `
	webRule = `rules: [{host: lab.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]`
)

func (d *driver) interceptedTraffic() {
	s := d.scene("Service Takes External Addresses")
	claims := func(name, kind string) string {
		return service("lab", name, `{type: `+kind+`, selector: {app: web}, externalIPs: [192.0.2.53], ports: [{port: 53}]}`)
	}
	s.fires("create", d.mallory).create(claims("claims", "ClusterIP"))
	s.fires("apply-new", d.mallory).apply(claims("claims-applied", "ClusterIP"))
	d.as(d.mallory).create(service("lab", "claims-turned", `{selector: {app: web}, ports: [{port: 53}]}`))
	s.fires("json-patch", d.mallory).patch(jsonPatch, at("v1", "services", "lab", "claims-turned"), `[{op: add, path: /spec/externalIPs, value: [192.0.2.53]}]`)
	s.fires("status", d.mallory).patch(mergePatch, at("v1", "services", "lab", "public", "status"), `{status: {loadBalancer: {ingress: [{ip: 192.0.2.53}]}}}`)
	s.quiet("none", d.mallory).create(service("lab", "claims-no", `{selector: {app: web}, ports: [{port: 53}]}`))
	s.quiet("given-back", d.mallory).patch(jsonPatch, at("v1", "services", "lab", "claims-turned"), `[{op: remove, path: /spec/externalIPs}]`)
	s.quiet("refused", d.alice).refused().create(claims("claims-alice", "ClusterIP"))
	s.quiet("dry-run", d.mallory).dryRun().create(claims("claims-dry", "ClusterIP"))

	s = d.scene("Endpoints Written by Hand")
	slice := object("discovery.k8s.io/v1", "EndpointSlice", "lab", "proxied-x", piece(`{metadata: {labels: {kubernetes.io/service-name: proxied}},
		addressType: IPv4, endpoints: [{addresses: [192.0.2.66]}], ports: [{port: 8080}]}`))
	endpoints := object("v1", "Endpoints", "lab", "headless-x", piece(`{subsets: [{addresses: [{ip: 192.0.2.66}], ports: [{port: 8080}]}]}`))
	s.fires("slice", d.mallory).create(slice)
	s.fires("slice-patched", d.mallory).patch(jsonPatch, at("discovery.k8s.io/v1", "endpointslices", "lab", "proxied-x"), `[{op: replace, path: /endpoints/0/addresses/0, value: 192.0.2.67}]`)
	s.fires("endpoints", d.admin).post(at("v1", "endpoints", "lab"), endpoints)
	s.quiet("read", d.mallory).get(at("v1", "endpoints", "lab", "headless-x"))
	s.quiet("refused", d.alice).refused().create(slice)
	s.quiet("dry-run", d.mallory).dryRun().create(object("discovery.k8s.io/v1", "EndpointSlice", "lab", "proxied-dry", piece(`{addressType: IPv4, endpoints: [{addresses: [192.0.2.66]}]}`)))
	s.observed("the endpoint slice controller", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:endpointslice-controller" && e.Verb == "create" && e.ObjectRef.Resource == "endpointslices"
	})

	s = d.scene("Cluster DNS Changed")
	corefile := func(line string) string { return `{Corefile: ".:53 { ` + line + ` forward . /etc/resolv.conf }"}` }
	dns := at("v1", "configmaps", "kube-system", "coredns")
	s.fires("create", d.admin).create(configMap("kube-system", "coredns", corefile("cache 30")))
	s.fires("merge-patch", d.mallory).patch(mergePatch, dns, `{data: {Corefile: ".:53 { rewrite name db.example.com evil.example.net }"}}`)
	s.fires("apply-existing", d.admin).apply(configMap("kube-system", "coredns", corefile("hosts { 192.0.2.66 db.example.com }")))
	s.fires("custom", d.mallory).create(configMap("kube-system", "coredns-custom", `{evil.override: "log"}`))
	s.quiet("read", d.mallory).get(dns)
	s.quiet("in-another-namespace", d.mallory).create(configMap("lab", "coredns-custom", corefile("log")))
	s.quiet("another-configmap", d.admin).create(configMap("kube-system", "coredns-notes", `{a: b}`))
	s.quiet("refused", d.alice).refused().patch(mergePatch, dns, `{data: {Corefile: x}}`)
	s.quiet("dry-run", d.mallory).dryRun().patch(mergePatch, dns, `{data: {Corefile: x}}`)
	s.fires("delete", d.mallory).delete(dns)
	s.fires("deletecollection", d.admin).with("labelSelector", "app=nobody").delete(at("v1", "configmaps", "kube-system"))

	s = d.scene("Traffic Interception Refused")
	s.fires("slice", d.alice).refused().create(slice)
	s.fires("status", d.alice).refused().patch(mergePatch, at("v1", "services", "lab", "public", "status"), `{status: {loadBalancer: {ingress: [{ip: 192.0.2.53}]}}}`)
	s.fires("dns", d.alice).refused().patch(mergePatch, dns, `{data: {Corefile: x}}`)
	s.quiet("service", d.alice).refused().patch(mergePatch, at("v1", "services", "lab", "public"), `{metadata: {labels: {a: b}}}`)
	s.quiet("endpoints-read", d.alice).refused().get(at("v1", "endpoints", "lab"))
	s.quiet("configmap", d.alice).refused().create(configMap("kube-system", "notes", `{a: b}`))

	s = d.scene("Traffic of a Service Redirected")
	d.as(d.mallory).create(service("lab", "web-inside", `{selector: {app: web}, ports: [{port: 80}]}`))
	web := at("v1", "services", "lab", "web-inside")
	s.fires("selector-merge-patch", d.mallory).patch(mergePatch, web, `{spec: {selector: {app: mine}}}`)
	s.fires("selector-json-patch", d.mallory).patch(jsonPatch, web, `[{op: replace, path: /spec/selector/app, value: others}]`)
	d.as(d.mallory).create(service("lab", "elsewhere", `{type: ExternalName, externalName: db.example.com}`))
	s.fires("external-name", d.mallory).patch(mergePatch, at("v1", "services", "lab", "elsewhere"), `{spec: {externalName: evil.example.net}}`)
	s.fires("labels-of-a-pod", d.mallory).patch(mergePatch, victim, `{metadata: {labels: {app: web}}}`)
	s.quiet("label-of-the-service", d.mallory).patch(mergePatch, web, `{metadata: {labels: {tier: none}}}`)
	s.quiet("label-of-an-external-name", d.mallory).patch(mergePatch, at("v1", "services", "lab", "elsewhere"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("annotation-of-a-pod", d.mallory).patch(mergePatch, victim, `{metadata: {annotations: {note: none}}}`)
	s.quiet("apply-existing", d.mallory).apply(service("lab", "public-applied", `{type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}`))
	s.quiet("refused", d.alice).refused().patch(mergePatch, web, `{spec: {selector: {app: mine}}}`)
	s.quiet("dry-run", d.mallory).dryRun().patch(mergePatch, web, `{spec: {selector: {app: mine}}}`)
}

func (d *driver) ingressRules() {
	const nginx = "nginx.ingress.kubernetes.io/"
	s := d.scene("Ingress Configuration Injected")
	s.fires("snippet", d.mallory).create(ingress("snippet", nginx+`configuration-snippet: "proxy_set_header X-Y z;"`, tlsFor+webRule))
	s.fires("snippet-apply-new", d.mallory).apply(ingress("snippet-applied", nginx+`server-snippet: "location /x { return 200; }"`, tlsFor+webRule))
	s.fires("auth-url", d.mallory).create(ingress("auth-url", nginx+`auth-url: "http://example.com/#;load_module evil"`, tlsFor+webRule))
	s.fires("newline", d.mallory).create(ingress("newline", nginx+`mirror-target: "https://example.com\nssl_engine evil"`, tlsFor+webRule))
	s.fires("path", d.mallory).create(ingress("path", "", tlsFor+`rules: [{host: lab.example.com, http: {paths: [{path: "/x;}location /y{", pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]`))
	s.fires("annotated-later", d.mallory).patch(mergePatch, at("networking.k8s.io/v1", "ingresses", "lab", "web"), `{metadata: {annotations: {`+nginx+`configuration-snippet: "x y;"}}}`)
	s.quiet("auth-url-of-a-proxy", d.mallory).create(ingress("auth-url-no", nginx+`auth-url: "https://oauth2.example.com/oauth2/auth"`, tlsFor+webRule))
	s.quiet("rewrite", d.mallory).create(ingress("rewrite", nginx+`rewrite-target: /$1`, tlsFor+`rules: [{host: lab.example.com, http: {paths: [{path: "/api/(.*)", pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]`))
	s.quiet("refused", d.alice).refused().create(ingress("snippet-alice", nginx+`server-snippet: "x;"`, tlsFor+webRule))
	s.quiet("dry-run", d.mallory).dryRun().create(ingress("snippet-dry", nginx+`server-snippet: "x;"`, tlsFor+webRule))

	s = d.scene("Ingress Object without TLS Certificate Created")
	s.fires("create", d.mallory).create(ingress("plain", "", webRule))
	s.fires("apply-new", d.mallory).apply(ingress("plain-applied", "", webRule))
	d.as(d.mallory).create(ingress("plain-later", "", tlsFor+webRule))
	s.fires("tls-removed", d.mallory).patch(jsonPatch, at("networking.k8s.io/v1", "ingresses", "lab", "plain-later"), `[{op: remove, path: /spec/tls}]`)
	s.quiet("with-tls", d.mallory).create(ingress("encrypted", "", tlsFor+webRule))
	s.quiet("refused", d.alice).refused().create(ingress("plain-alice", "", webRule))
	s.quiet("dry-run", d.mallory).dryRun().create(ingress("plain-dry", "", webRule))
	s.quiet("deleted", d.mallory).delete(at("networking.k8s.io/v1", "ingresses", "lab", "plain"))
}

func (d *driver) hostileAddresses() {
	from := func(r *request, address string) *request { return r.head("X-Forwarded-For", address) }
	pods := at("v1", "pods", "lab")
	s := d.scene("Request From a Tor Exit or Hostile Address")
	from(s.fires("tor", d.mallory), "198.51.100.200").get(pods)
	from(s.fires("hostile", d.mallory), "192.0.2.9").create(configMap("lab", "from-afar", `{a: b}`))
	from(s.fires("behind-another-proxy", d.mallory), "203.0.113.5, 198.51.100.200").get(pods)
	from(s.fires("nodes", d.mallory), "192.0.2.9").get(at("v1", "nodes", ""))
	from(s.quiet("another-network", d.mallory), "198.51.100.100").get(pods)
	from(s.quiet("refused", d.alice), "198.51.100.200").refused().get(pods)
	from(s.quiet("health", d.nobody), "198.51.100.200").get("/livez")
	s.quiet("from-inside", d.mallory).get(pods)

	s = d.scene("Probe From a Tor Exit or Hostile Address")
	from(s.fires("refused", d.alice), "198.51.100.200").refused().get(pods)
	from(s.fires("no-credentials", d.nobody), "192.0.2.9").refused().get(at("v1", "nodes", ""))
	from(s.fires("wrong-token", d.withToken("made-up")), "192.0.2.9").answers(http.StatusUnauthorized).get(pods)
	from(s.fires("version", d.nobody), "198.51.100.200").get("/version")
	from(s.quiet("another-network", d.alice), "198.51.100.100").refused().get(pods)
	from(s.quiet("allowed", d.mallory), "198.51.100.200").get(pods)
	s.quiet("version-from-inside", d.nobody).get("/version")
}

func (d *driver) accessProxy() {
	s := d.scene("Secrets Read Through Access Proxy")
	const namespace, name = "azure-arc", "azure-arc-kube-aad-proxy-sa"
	d.as(d.admin).create(bare("v1", "ServiceAccount", namespace, name))
	d.as(d.admin).create(role("", "access-proxy", `[{apiGroups: [""], resources: [users, groups], verbs: [impersonate]}, {apiGroups: [""], resources: [pods], verbs: [list]}]`))
	d.as(d.admin).create(binding("", "access-proxy", "ClusterRole/access-proxy", "ServiceAccount/"+namespace+"/"+name))
	d.as(d.admin).create(pod(namespace, "proxy", `{serviceAccountName: `+name+`, containers: [{name: app, image: "registry.example.com/proxy:1"}]}`))
	proxy := d.serviceAccount(namespace, name, "kube-aad-proxy", "127.0.0.170")
	for _, v := range []struct{ what, path string }{
		{"secret", at("v1", "secrets", "shop", "web-tls")}, {"configmaps", at("v1", "configmaps", "shop")},
	} {
		s.fires(v.what, proxy).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").get(v.path)
	}
	s.quiet("pods", proxy).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").get(at("v1", "pods", "shop"))
	s.quiet("in-its-own-name", proxy).get(at("v1", "pods", "shop"))
	s.quiet("another-impersonator", d.admin).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").get(at("v1", "configmaps", "shop"))
	s.quiet("refused", proxy).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").refused().get(at("v1", "secrets", "kube-system"))
}
