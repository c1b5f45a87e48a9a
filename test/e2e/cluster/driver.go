package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/yaml"
)

// The media types of the four ways to patch.
const (
	jsonPatch      = "application/json-patch+json"
	mergePatch     = "application/merge-patch+json"
	strategicPatch = "application/strategic-merge-patch+json"
	applyPatch     = "application/apply-patch+yaml"
)

// A driver sends requests in many names and remembers which of them become fixtures.
type driver struct {
	ctx      context.Context
	log      *slog.Logger
	cluster  *controlPlane
	admin    *actor
	alice    *actor
	ciBot    *actor
	mallory  *actor
	node     *actor
	nobody   *actor
	fixtures []fixture

	mu       sync.Mutex
	failures []error
}

// An actor is somebody who sends requests.
type actor struct {
	config  *rest.Config
	clients *kubernetes.Clientset
}

func newDriver(ctx context.Context, log *slog.Logger, cluster *controlPlane) (*driver, error) {
	d := &driver{ctx: ctx, log: log, cluster: cluster}
	for id, place := range map[*identity]**actor{
		&admin: &d.admin, &alice: &d.alice, &ciBot: &d.ciBot, &mallory: &d.mallory, &node: &d.node,
	} {
		a, err := newActor(cluster.config(*id))
		if err != nil {
			return nil, err
		}
		*place = a
	}
	var err error
	d.nobody, err = newActor(cluster.anonymousConfig("curl/8.5.0", "127.0.0.99"))
	return d, err
}

func newActor(config *rest.Config) (*actor, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return &actor{config: config, clients: clients}, nil
}

// serviceAccount is the actor behind a service account that has a pod on the node. It uses the token the kubelet got for the
// pod, as a program in the pod would.
func (d *driver) serviceAccount(namespace, name, agent, address string) *actor {
	config := d.cluster.anonymousConfig(agent, address)
	if err := d.cluster.await(d.ctx, "a pod with the token of "+namespace+"/"+name, 30*time.Second, func(context.Context) error {
		if config.BearerToken = d.cluster.kubelet.token(namespace, name); config.BearerToken == "" {
			return errors.New("the kubelet has none")
		}
		return nil
	}); err != nil {
		d.fail("token", err)
	}
	a, err := newActor(config)
	if err != nil {
		d.fail("token", err)
	}
	return a
}

// withToken is an actor who presents a token of the caller's choice.
func (d *driver) withToken(token string) *actor {
	config := rest.CopyConfig(d.nobody.config)
	config.BearerToken = token
	a, err := newActor(config)
	if err != nil {
		d.fail("token", err)
	}
	return a
}

func (d *driver) fail(what string, err error) {
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failures = append(d.failures, fmt.Errorf("%s: %w", what, err))
	}
}

// as begins a request that becomes no fixture.
func (d *driver) as(a *actor) *request {
	return &request{driver: d, by: a, query: url.Values{}, header: http.Header{}}
}

// A scene is the requests made for one rule.
type scene struct {
	*driver
	slug string
}

// scene begins the requests for the rule of that name.
func (d *driver) scene(rule string) scene { return scene{d, slug(rule)} }

// slug returns the name of a rule's folder of fixtures: its letters and digits in lower case, dashes for all else.
func slug(rule string) string {
	words := strings.FieldsFunc(strings.ToLower(rule), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return strings.Join(words, "-")
}

// fires begins a request on whose event the scene's rule has to fire.
func (s scene) fires(what string, by *actor) *request { return s.request("fires", what, by) }

// quiet begins a request on whose event the scene's rule must not fire.
func (s scene) quiet(what string, by *actor) *request { return s.request("quiet", what, by) }

func (s scene) request(verdict, what string, by *actor) *request {
	r := s.as(by)
	// The API server takes the audit ID from the client. That is how a recorded event is found again, and how it tells a
	// reader what it is.
	r.id = verdict + "-" + s.slug + "-" + what
	s.fixtures = append(s.fixtures, fixture{slug: s.slug, verdict: verdict, auditID: r.id, stage: "ResponseComplete"})
	r.fixtureIndex = len(s.fixtures) - 1
	return r
}

// observed makes a fixture of the first event that matches, one that no request of ours causes directly.
func (s scene) observed(what string, match func(*event) bool) {
	s.fixtures = append(s.fixtures, fixture{slug: s.slug, verdict: "quiet", auditID: what, match: match, stage: "ResponseComplete"})
}

// received makes a quiet fixture of the arrival of a request on whose completion the rule fires. It needs a resource for which
// the audit policy keeps that stage.
func (s scene) received(what string) {
	s.fixtures = append(s.fixtures, fixture{slug: s.slug, verdict: "quiet", auditID: "fires-" + s.slug + "-" + what, stage: "RequestReceived"})
}

// A request is one request to the API server, and what is expected of the answer. Its methods that send it keep a wrong
// answer as a failure of the driver; the recording fails when it is over.
type request struct {
	driver       *driver
	by           *actor
	id           string
	fixtureIndex int
	query        url.Values
	header       http.Header
	code         int
}

// answers sets the status code the API server has to answer with. Without it any success will do.
func (r *request) answers(code int) *request {
	r.code = code
	if code == http.StatusUnauthorized {
		// A failed authentication is recorded at this stage only.
		r.at("ResponseStarted")
	}
	return r
}

// refused expects the answer 403.
func (r *request) refused() *request { return r.answers(http.StatusForbidden) }

// dryRun asks the API server to change nothing.
func (r *request) dryRun() *request { return r.with("dryRun", "All") }

// with adds a parameter to the query.
func (r *request) with(parameter, value string) *request {
	r.query.Add(parameter, value)
	return r
}

// head adds a header, as impersonation needs.
func (r *request) head(name, value string) *request {
	r.header.Add(name, value)
	return r
}

// at sets the stage whose event becomes the fixture.
func (r *request) at(stage string) *request {
	if r.id != "" {
		r.driver.fixtures[r.fixtureIndex].stage = stage
	}
	return r
}

// create posts a manifest.
func (r *request) create(manifest string) {
	body, collection, _ := r.parse(manifest)
	r.manager("kubectl-create").send(http.MethodPost, collection, "application/json", body)
}

// apply sends a manifest as a server-side apply.
func (r *request) apply(manifest string) {
	body, _, object := r.parse(manifest)
	r.manager("kubectl").with("force", "true").send(http.MethodPatch, object, applyPatch, body)
}

// update replaces an object by a manifest.
func (r *request) update(manifest string) {
	body, _, object := r.parse(manifest)
	r.manager("kubectl-replace").send(http.MethodPut, object, "application/json", body)
}

// patch sends a patch, written as YAML, of one of the media types above.
func (r *request) patch(kind, path, patch string) {
	body, err := yaml.YAMLToJSON([]byte(patch))
	r.driver.fail(r.name(path), err)
	r.manager("kubectl-patch").send(http.MethodPatch, path, kind, body)
}

// post sends a body to a path that is not simply the collection of its kind.
func (r *request) post(path, manifest string) {
	body, _, _ := r.parse(manifest)
	r.send(http.MethodPost, path, "application/json", body)
}

// put sends a body to a subresource.
func (r *request) put(path, manifest string) {
	body, _, _ := r.parse(manifest)
	r.send(http.MethodPut, path, "application/json", body)
}

// get reads a path.
func (r *request) get(path string) { r.send(http.MethodGet, path, "", nil) }

// watch watches a path for a second. The fixture is the event of the beginning: a watch may never end.
func (r *request) watch(path string) {
	r.with("watch", "true").with("timeoutSeconds", "1").get(path)
}

// delete deletes what is at a path, one object or a collection. A dry run is asked for in the body, as kubectl does: beside a
// body the API server does not read the query (k8s.io/apiserver: pkg/endpoints/handlers/delete.go).
func (r *request) delete(path string) {
	dryRun := ""
	if r.query.Has("dryRun") {
		r.query.Del("dryRun")
		dryRun = `,"dryRun":["All"]`
	}
	r.send(http.MethodDelete, path, "application/json", []byte(`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"`+dryRun+`}`))
}

// deletePretending deletes what is at a path and says in the query that it is a dry run, where nobody reads it.
func (r *request) deletePretending(path string) {
	r.with("dryRun", "All").send(http.MethodDelete, path, "application/json", []byte(`{"kind":"DeleteOptions","apiVersion":"v1"}`))
}

// manager names the field manager kubectl would name.
func (r *request) manager(name string) *request {
	if !r.query.Has("fieldManager") {
		r.with("fieldManager", name)
	}
	return r
}

func (r *request) send(method, path, contentType string, body []byte) []byte {
	if longRunning(path, r.query) {
		r.at("ResponseStarted")
	}
	request := r.by.clients.CoreV1().RESTClient().Verb(method).AbsPath(path)
	for name, values := range r.query {
		for _, value := range values {
			request.Param(name, value)
		}
	}
	if body != nil {
		request.SetHeader("Content-Type", contentType).Body(body)
	}
	for name, values := range r.header {
		request.SetHeader(name, values...)
	}
	if r.id != "" {
		request.SetHeader("Audit-ID", r.id)
	}
	// A deadline here, not a timeout of the client, which would show in every recorded URI.
	ctx, cancel := context.WithTimeout(r.driver.ctx, 60*time.Second)
	defer cancel()
	var code int
	result := request.Do(ctx).StatusCode(&code)
	answer, err := result.Raw()
	switch {
	case r.code == 0 && err != nil:
		r.driver.fail(r.name(method+" "+path), fmt.Errorf("answer %d: %w: %s", code, err, answer))
	case r.code != 0 && r.code != code:
		r.driver.fail(r.name(method+" "+path), fmt.Errorf("answer %d, expected %d: %s", code, r.code, answer))
	}
	return answer
}

func (r *request) name(otherwise string) string {
	if r.id != "" {
		return r.id
	}
	return otherwise
}

// exec runs a command in a pod over the given protocol; the fixture is the event of the beginning of the stream.
func (r *request) exec(p streamProtocol, path string, command ...string) {
	for _, word := range command {
		r.with("command", word)
	}
	r.with("stdout", "true").with("stderr", "true").remoteCommand(p, path+"/exec")
}

// attach attaches to a pod.
func (r *request) attach(p streamProtocol, path string) {
	r.with("stdout", "true").remoteCommand(p, path+"/attach")
}

// A streamProtocol is one of the two ways to open a stream through the API server. A websocket is opened with GET, so RBAC and
// the audit event call it get; SPDY is opened with POST, which is create.
type streamProtocol string

const (
	websocket streamProtocol = http.MethodGet
	spdyPost  streamProtocol = http.MethodPost
)

func (r *request) remoteCommand(p streamProtocol, path string) {
	target, config := r.stream(path)
	var executor remotecommand.Executor
	var err error
	if p == websocket {
		executor, err = remotecommand.NewWebSocketExecutor(config, string(p), target.String())
	} else {
		executor, err = remotecommand.NewSPDYExecutor(config, string(p), target)
	}
	if err == nil {
		err = executor.StreamWithContext(r.driver.ctx, remotecommand.StreamOptions{
			Stdin:  optional[io.Reader](r.query.Get("stdin") == "true", strings.NewReader("exit\n")),
			Stdout: &strings.Builder{},
			Stderr: optional[io.Writer](r.query.Get("stderr") == "true" && r.query.Get("tty") != "true", &strings.Builder{}),
			Tty:    r.query.Get("tty") == "true",
		})
	}
	r.streamed(path, err)
}

// forward opens a port-forward connection to a pod and closes it.
func (r *request) forward(p streamProtocol, path string) { r.tunnel(p, path+"/portforward") }

func (r *request) tunnel(p streamProtocol, path string) {
	target, config := r.stream(path)
	var dialer httpstream.Dialer
	var err error
	if p == websocket {
		dialer, err = portforward.NewSPDYOverWebsocketDialerForStreaming(target, config)
	} else {
		var transport http.RoundTripper
		var upgrader spdy.Upgrader
		if transport, upgrader, err = spdy.RoundTripperFor(config); err == nil {
			dialer = spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, string(p), target)
		}
	}
	if err == nil {
		var conn httpstream.Connection
		if conn, _, err = dialer.Dial("portforward.k8s.io"); err == nil {
			err = conn.Close()
		}
	}
	r.streamed(path, err)
}

// longRunning reports whether the API server tells of the start of the response too: rules judge such requests by that
// event, since the end may never come.
func longRunning(path string, query url.Values) bool {
	for _, part := range strings.Split(path, "/") {
		switch part {
		case "attach", "exec", "log", "portforward", "proxy", "watch":
			return true
		}
	}
	return query.Get("watch") == "true"
}

// stream prepares the address and the client configuration of a stream.
func (r *request) stream(path string) (*url.URL, *rest.Config) {
	r.at("ResponseStarted")
	target, err := url.Parse(r.by.config.Host + path)
	r.driver.fail(r.name(path), err)
	target.RawQuery = r.query.Encode()
	config := rest.CopyConfig(r.by.config)
	if r.id != "" {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return auditIDHeader{next, r.id} })
	}
	return target, config
}

func (r *request) streamed(path string, err error) {
	switch {
	case r.code == 0:
		r.driver.fail(r.name(path), err)
	case err == nil:
		r.driver.fail(r.name(path), fmt.Errorf("succeeded, expected %d", r.code))
	case !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(http.StatusText(r.code))) && apierrors.ReasonForError(err) == "":
		r.driver.fail(r.name(path), fmt.Errorf("expected %d: %w", r.code, err))
	}
}

// auditIDHeader adds the Audit-ID header where client-go offers no other way.
type auditIDHeader struct {
	next http.RoundTripper
	id   string
}

func (t auditIDHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Audit-ID", t.id)
	return t.next.RoundTrip(r)
}

// optional returns value if wanted, else nothing.
func optional[T any](wanted bool, value T) (none T) {
	if wanted {
		return value
	}
	return none
}

// parse turns a manifest into JSON, and finds the paths of its kind and of itself.
func (r *request) parse(manifest string) (body []byte, collection, object string) {
	body, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		r.driver.fail(r.name(manifest), err)
		return nil, "", ""
	}
	var m struct {
		APIVersion, Kind string
		Metadata         struct{ Namespace, Name string }
	}
	if err := json.Unmarshal(body, &m); err != nil {
		r.driver.fail(r.name(manifest), err)
	}
	resource, known := resources[m.Kind]
	if !known {
		resource = strings.ToLower(m.Kind) + "s"
	}
	collection = at(m.APIVersion, resource, m.Metadata.Namespace, "")
	return body, collection, collection + "/" + m.Metadata.Name
}

// resources are the plurals that are not the lower-case kind with an s.
var resources = map[string]string{
	"Ingress":        "ingresses",
	"NetworkPolicy":  "networkpolicies",
	"StorageClass":   "storageclasses",
	"PriorityClass":  "priorityclasses",
	"EndpointSlice":  "endpointslices",
	"ResourceQuota":  "resourcequotas",
	"DaemonSet":      "daemonsets",
	"ServiceAccount": "serviceaccounts",
}

// at is the path of a resource, and of one object with the parts of its name that follow.
func at(apiVersion, resource, namespace string, name ...string) string {
	path := "/apis/" + apiVersion
	if !strings.Contains(apiVersion, "/") {
		path = "/api/" + apiVersion
	}
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	path += "/" + resource
	for _, part := range name {
		if part != "" {
			path += "/" + part
		}
	}
	return path
}

// nodeExec opens a websocket to a kubelet's exec endpoint through the node proxy, which takes no more than the right to get.
func (r *request) nodeExec(path string) {
	target, config := r.stream(path)
	executor, err := remotecommand.NewWebSocketExecutorForProtocols(config, http.MethodGet, target.String(), "v4.channel.k8s.io")
	if err == nil {
		err = executor.StreamWithContext(r.driver.ctx, remotecommand.StreamOptions{Stdout: &strings.Builder{}, Stderr: &strings.Builder{}})
	}
	r.streamed(path, err)
}
