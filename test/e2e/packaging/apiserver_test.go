//go:build linux

package packaging

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"kaudit"
	"kaudit/internal/docs"
	"kaudit/test/e2e"
)

// An apiServer is one as a configuration makes it.
type apiServer struct {
	flags  []string          // those about audit
	mounts map[string]string // folders of the machine, by where the API server sees them
}

// kubeadm has kubeadm write the API server's static pod.
func kubeadm(t *testing.T, config string) (s apiServer) {
	t.Helper()
	program, dir := filepath.Join(clusterPrograms(t), "kubeadm"), t.TempDir()
	if err := run(exec.Command(program, "config", "validate", "--config", config)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "init", "phase", "control-plane", "apiserver", "--dry-run", "--config", config)
	cmd.Env = append(os.Environ(), "KUBEADM_INIT_DRYRUN_DIR="+dir)
	if err := run(cmd); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kube-apiserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var pod struct {
		Spec struct {
			Containers []struct {
				Command      []string
				VolumeMounts []struct {
					Name string
					Path string `yaml:"mountPath"`
				} `yaml:"volumeMounts"`
			}
			Volumes []struct {
				Name string
				Host struct{ Path string } `yaml:"hostPath"`
			}
		}
	}
	if err := yaml.Unmarshal(text, &pod); err != nil {
		t.Fatal(err)
	}
	s.mounts = map[string]string{}
	for _, flag := range pod.Spec.Containers[0].Command {
		if strings.HasPrefix(flag, "--audit-") {
			s.flags = append(s.flags, flag)
		}
	}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		for _, v := range pod.Spec.Volumes {
			if v.Name == m.Name {
				s.mounts[m.Path] = v.Host.Path
			}
		}
	}
	return s
}

// rancher reads a config.yaml of k3s, whose API server sees the files of the machine, or of RKE2, whose does not.
func rancher(t *testing.T, config string) apiServer {
	t.Helper()
	var c struct {
		Policy string   `yaml:"audit-policy-file"`
		Args   []string `yaml:"kube-apiserver-arg"`
		Mounts []string `yaml:"kube-apiserver-extra-mount"`
	}
	decode(t, config, &c)
	s := apiServer{mounts: map[string]string{}}
	for _, a := range c.Args {
		s.flags = append(s.flags, "--"+a)
	}
	if c.Policy != "" {
		s.flags = append(s.flags, "--audit-policy-file="+c.Policy)
	}
	for _, m := range c.Mounts {
		from, to, _ := strings.Cut(strings.TrimSuffix(m, ":ro"), ":")
		s.mounts[to] = from
	}
	if filepath.Base(config) == "k3s.yaml" {
		s.mounts["/var"] = "/var"
	}
	return s
}

// on returns the flags with files where they are when the machine's folder is another one of the test. A file that the API
// server does not see fails the test.
func (s apiServer) on(t *testing.T, folder, own string) (flags []string) {
	t.Helper()
	for _, flag := range s.flags {
		name, value, _ := strings.Cut(flag, "=")
		if strings.HasPrefix(value, "/") {
			seen := false
			for to, from := range s.mounts {
				if below, is := strings.CutPrefix(value, to+"/"); is {
					value, seen = filepath.Join(from, below), true
					break
				}
			}
			if !seen {
				t.Errorf("the API server does not see %s", flag)
			}
			value = strings.Replace(value, folder, own, 1)
			if _, err := os.Stat(value); err != nil {
				t.Errorf("%s: %v", flag, err)
			}
		}
		flags = append(flags, name+"="+value)
	}
	return flags
}

// clusterPrograms returns the folder with the programs of a control plane, kubeadm and kubectl, built from test/e2e/cluster.
func clusterPrograms(t *testing.T) string {
	t.Helper()
	dir, err := builtCluster()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(dir)
}

var builtCluster = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "kaudit").Output()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "run", ".", "programs")
	cmd.Dir = filepath.Join(strings.TrimSpace(string(root)), "test", "e2e", "cluster")
	out, err := cmd.Output()
	return string(out), err
})

// startCluster starts a real control plane whose API server has more flags, and returns the administrator's kubeconfig.
func startCluster(t *testing.T, flags []string) (kubeconfig string) {
	t.Helper()
	clusterPrograms(t)
	program := filepath.Join(t.TempDir(), "cluster")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join(e2e.Root(t), "test", "e2e", "cluster")
	if err := run(build); err != nil {
		t.Fatal(err)
	}
	args := []string{"run"}
	for _, f := range flags {
		args = append(args, "-api-server", f)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = build.Dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
	start(t, cmd)
	for s := bufio.NewScanner(out); s.Scan(); {
		if path, is := strings.CutPrefix(s.Text(), "export KUBECONFIG="); is {
			return path
		}
	}
	t.Fatal("the control plane did not start")
	return ""
}

const quickstart = "docs/quickstart.md"

// Each configuration of an API server makes a real one post to a Falco with the shipped configuration for that, by the
// kubeconfig of kaudit certs. Then somebody does what the quick start has people do.
func TestAPIServersPostToFalco(t *testing.T) {
	event := docs.Commands(t, e2e.Root(t), quickstart)
	folder := filepath.Join(e2e.Root(t), "build", "kubernetes")
	// What the file is a part of names the version; without it kubeadm asks for the newest.
	part, err := os.ReadFile(filepath.Join(folder, "kubeadm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "kubeadm.yaml")
	if err := os.WriteFile(config, fmt.Appendf(part, "kubernetesVersion: %s\n", kubernetesVersion(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]struct {
		apiServer
		folder string // with the policy and the kubeconfig
	}{
		"kubeadm": {kubeadm(t, config), "/etc/kubernetes/audit"},
		"k3s":     {rancher(t, filepath.Join(folder, "k3s.yaml")), "/var/lib/rancher/k3s/server/audit"},
		"rke2":    {rancher(t, filepath.Join(folder, "rke2.yaml")), "/etc/rancher/rke2/audit"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			audit := filepath.Join(m.dir, "audit")
			m.shell("kaudit certs --host 127.0.0.1 --dir certs; mkdir audit; cp rules/policy/audit-policy.yaml certs/webhook.yaml audit")
			m.edit(filepath.Join(audit, "webhook.yaml"), "127.0.0.1:9765", m.address)
			f := m.falco(fragments(t)["webhook-tls.yaml"], filepath.Join(m.dir, "certs"))
			m.env = append(m.env, "KUBECONFIG="+startCluster(t, s.on(t, s.folder, audit)))
			for _, b := range event {
				m.run(b)
			}
			f.alert(t, "cluster-admin granted to (User:quickstart) by binding quickstart") // as the page says
			f.stop(t)
		})
	}
}

// kind makes a cluster by the shipped configuration, with a Docker that keeps what it is asked for. A real API server then
// gets the flags that kind and kubeadm make of it, with the files that kind mounts, and posts to a Falco with the values for
// the chart.
func TestKindsAPIServerPostsToFalco(t *testing.T) {
	blocks := docs.Commands(t, e2e.Root(t), quickstart)
	if len(blocks) != 3 {
		t.Fatalf("%d blocks, want the cluster, the image, the secret", len(blocks))
	}
	m, keeps := newMachine(t), t.TempDir()
	admin := filepath.Join(keeps, "admin.conf")
	if err := os.WriteFile(admin, []byte("{apiVersion: v1, kind: Config, clusters: [{name: kind, cluster: {server: https://kind-control-plane:6443}}],"+
		" users: [{name: kind, user: {}}], contexts: [{name: kind, context: {cluster: kind, user: kind}}], current-context: kind}"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.env = append(m.env, "DOCKER_KEEPS="+keeps, "KUBERNETES_VERSION="+kubernetesVersion(t), "KUBECONFIG="+filepath.Join(keeps, "kubeconfig"))
	m.run(blocks[0])
	m.run(blocks[1])

	// What the API server sees is the node's, and what the node sees, the machine's.
	s := kubeadm(t, filepath.Join(keeps, "kubeadm.conf"))
	asked, err := os.ReadFile(filepath.Join(keeps, "asked"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range regexp.MustCompile(`--volume=(/\S+?):(/\S+?)(:ro)?\s`).FindAllSubmatch(asked, -1) {
		for to, from := range s.mounts {
			if from == string(v[2]) {
				s.mounts[to] = string(v[1])
			}
		}
	}
	layers, err := exec.Command("tar", "-tf", filepath.Join(keeps, "image.tar")).Output()
	if err != nil || !strings.Contains(string(layers), "./oci-layout") {
		t.Errorf("the image that was loaded has %s: %v", layers, err)
	}
	index, err := exec.Command("tar", "-xOf", filepath.Join(keeps, "image.tar"), "./index.json").Output()
	if err != nil || !strings.Contains(string(index), `"io.containerd.image.name":"docker.io/library/kaudit:`+kaudit.Plugin().Version+`"`) {
		t.Errorf("the image that was loaded is called %s: %v", index, err)
	}

	// The address of the service is Falco's here.
	service := "10.96.0.50"
	m.edit(filepath.Join(m.dir, "audit", "webhook.yaml"), "server: https://"+service+":9765/", "tls-server-name: "+service+"\n      server: https://"+m.address+"/")
	var image struct{ Falco falcoConfig }
	text, err := os.ReadFile(filepath.Join(e2e.Root(t), "build", "helm", "values-image.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &image); err != nil {
		t.Fatal(err)
	}
	f := m.falco(image.Falco, filepath.Join(m.dir, "dist", "certs"))
	m.env = append(m.env, "KUBECONFIG="+startCluster(t, s.on(t, m.dir, m.dir)))
	m.run(blocks[2])
	for _, p := range docs.Pages(t, e2e.Root(t)) {
		for _, b := range p.Blocks {
			if p.Name == quickstart && b.RunBy == "TestAPIServersPostToFalco" {
				m.run(b)
			}
		}
	}
	f.alert(t, "cluster-admin granted to (User:quickstart) by binding quickstart") // as the page says
	f.stop(t)
	certManagerTakes(t, m)
}

// certManagerTakes has the API server take our certificates as it does where cert-manager is installed: by cert-manager's own
// schemas, with not a key too many. They are for the service, secrets and files of the values for the chart.
func certManagerTakes(t *testing.T, m *machine) {
	t.Helper()
	var module struct{ Dir string }
	out, err := exec.Command("go", "mod", "download", "-json", "github.com/cert-manager/cert-manager@"+certManagerVersion).Output()
	if err != nil || json.Unmarshal(out, &module) != nil {
		t.Fatalf("go mod download: %v: %s", err, out)
	}
	m.shell("kubectl apply --server-side -f " + filepath.Join(module.Dir, "deploy", "crds") + `
kubectl wait --for=condition=Established crd/certificates.cert-manager.io crd/issuers.cert-manager.io
kubectl apply --dry-run=server --validate=strict -f build/kubernetes/cert-manager.yaml`)

	v := values(t)
	secret, service := v.Mounts.Volumes[0].Secret.Name, "falco-"+v.Services[0].Name+".falco.svc"
	text := content(t, filepath.Join(e2e.Root(t), "build", "kubernetes", "cert-manager.yaml"))
	found := false
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var c struct {
			Spec struct {
				Secret string                  `yaml:"secretName"`
				Names  []string                `yaml:"dnsNames"`
				Output []struct{ Type string } `yaml:"additionalOutputFormats"`
			}
		}
		if d.Decode(&c) != nil {
			break
		}
		found = found || c.Spec.Secret == secret && slices.Contains(c.Spec.Names, service) && len(c.Spec.Output) == 1 && c.Spec.Output[0].Type == "CombinedPEM"
	}
	if !found {
		t.Errorf("no certificate for %s goes into the secret %s as one file", service, secret)
	}
}

// certManagerVersion is the release whose schemas are taken.
const certManagerVersion = "v1.19.1"

// Flags of an API server that pages show are taken by a real one.
func TestAPIServersTakeTheFlagsInTheDocs(t *testing.T) {
	program, n := filepath.Join(clusterPrograms(t), "kube-apiserver"), 0
	for _, p := range docs.Pages(t, e2e.Root(t)) {
		for _, b := range p.Blocks {
			var flags []string
			switch {
			case b.Language == "" && strings.HasPrefix(b.Text, "--"):
				flags = strings.Fields(b.Text)
			case b.Language == "yaml":
				var c struct {
					APIServer struct {
						Args []struct{ Name, Value string } `yaml:"extraArgs"`
					} `yaml:"apiServer"`
					Args []string `yaml:"kube-apiserver-arg"`
				}
				_ = yaml.Unmarshal([]byte(b.Text), &c) // others are something else
				for _, a := range c.APIServer.Args {
					flags = append(flags, "--"+a.Name+"="+a.Value)
				}
				for _, a := range c.Args {
					flags = append(flags, "--"+a)
				}
			}
			if len(flags) == 0 {
				continue
			}
			n++
			if err := run(exec.Command(program, append(flags, "--version")...)); err != nil {
				t.Errorf("%s: %v", b.Where(), err)
			}
		}
	}
	if n == 0 {
		t.Error("no page has flags of an API server")
	}
}

var (
	// advice is a command of kubectl in brackets, with one pair of brackets in it at most.
	advice = regexp.MustCompile(`\(kubectl (?:[^()]|\([^()]*\))*\)`)
	// next is what comes between two commands, and what ends one: pipes, and words on what to do with it.
	next = regexp.MustCompile(` \| | > | -- |, |; |: | and | for each `)
)

// Commands of kubectl that rules advise, in brackets in their descriptions, are ones that it knows, with their flags: asked
// for help, it reads them, and does nothing.
func TestKubectlKnowsWhatRulesAdvise(t *testing.T) {
	bin, n := clusterPrograms(t), 0
	for _, file := range e2e.RuleFiles(t) {
		text := strings.Join(strings.Fields(string(content(t, file))), " ")
		for _, brackets := range advice.FindAllString(text, -1) {
			for _, command := range next.Split(brackets[1:len(brackets)-1], -1) {
				if !strings.HasPrefix(command, "kubectl ") {
					continue
				}
				n++
				cmd := exec.Command("bash", "-c", command+" --help")
				cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
				if err := run(cmd); err != nil {
					t.Errorf("%s: %s: %v", filepath.Base(file), command, err)
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("found %d commands", n)
	}
}

// kubernetesVersion is that of the control plane.
func kubernetesVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(clusterPrograms(t), "kube-apiserver"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "Kubernetes "))
}
