//go:build linux

// Package boundary holds the built library to what it promises across the C boundary, with a host in plain C that is
// harsher than Falco: old structures at the end of a page, copies of events, several objects at once.
package boundary

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	// What the library is made of, so that the test runs again when one of them changes.
	_ "kaudit/internal/abi/sourcing"
	_ "kaudit/internal/config"
	"kaudit/pkg/extract"
	_ "kaudit/pkg/source/all"
	"kaudit/test/e2e"
)

// build makes the library and the host in a temporary folder, with extra arguments for both compilers.
func build(t testing.TB, goArgs, ccArgs []string) (library, host string) {
	t.Helper()
	dir := t.TempDir()
	library, host = filepath.Join(dir, "libk8saudit.so"), filepath.Join(dir, "host")
	cc := os.Getenv("CC")
	if cc == "" || cc == "cc" { // go build -asan asks the compiler for its name, and "cc" is none it knows
		cc = "gcc"
	}
	t.Setenv("CC", cc)
	buildLibrary(t, library, "kaudit/plugin", goArgs...)
	parts, err := filepath.Glob("host/*.c")
	if err != nil || len(parts) == 0 {
		t.Fatal("no host: ", err)
	}
	ccArgs = append([]string{"-O2", "-g", "-Wall", "-Wextra", "-Werror", "-o", host}, ccArgs...)
	command(t, cc, slices.Concat(ccArgs, parts, []string{"-ldl", "-lpthread"})...)
	return library, host
}

func buildLibrary(t testing.TB, to, pkg string, goArgs ...string) {
	t.Helper()
	command(t, "go", append(append([]string{"build", "-buildmode=c-shared"}, goArgs...), "-o", to, pkg)...)
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// everyField names every field with the argument of its example, one a line.
func everyField() string {
	var b strings.Builder
	for _, f := range extract.Fields() {
		b.WriteString(f.Name)
		if f.Example.Arg != "" || f.Arg == extract.RequiredKey {
			b.WriteString("[" + f.Example.Arg + "]")
		}
		b.WriteByte('\n')
	}
	// One field with two arguments: their values must not mix.
	b.WriteString("ka.uri.param[limit]\nka.uri.param[watch]\nka.containers.image[0]\nka.containers.image[1]\n")
	return b.String()
}

// sample writes every n-th event of a recording to a file.
func sample(t testing.TB, n int) string {
	t.Helper()
	var some [][]byte
	for i, line := range e2e.Lines(t, "../../testdata/recordings/attacks.jsonl.gz") {
		if i%n == 0 {
			some = append(some, line)
		}
	}
	return e2e.WriteLines(t, some)
}

func run(t testing.TB, fields string, env []string, host string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(host, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(fields)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, log.Bytes())
	}
	return out
}

// address is one at which nobody listens.
func address(t testing.TB) string { return "http://" + e2e.FreeAddress(t) + "/k8s-audit" }

// post sends the content of a file to an address, over and over, until the test ends. Nobody may be there.
func post(t testing.TB, file, address string) {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		senders.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/x-ndjson")
				if answer, err := http.DefaultClient.Do(req); err == nil {
					answer.Body.Close()
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		senders.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
}

// lossy writes a file in which two lines of four are no events.
func lossy(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lossy.log")
	event := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","stageTimestamp":"2026-01-01T00:00:00Z"}`
	if err := os.WriteFile(file, []byte(event+"\nnonsense\n"+event+"\n{\"auditID\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// cross runs the host's threads while somebody posts.
func cross(t *testing.T, env []string, host, library string) {
	t.Helper()
	file, to := sample(t, 100), address(t)
	post(t, file, to)
	run(t, everyField(), env, host, library, "threads", file, to)
}

func TestTheLibraryKeepsItsPromises(t *testing.T) {
	library, host := build(t, nil, nil)
	var result struct{ Events, Fields int }
	out := run(t, everyField(), nil, host, library, "check", sample(t, 20))
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatal(err)
	}
	if result.Events < 50 || result.Fields < len(extract.Fields()) {
		t.Errorf("checked only %d events and %d fields", result.Events, result.Fields)
	}
	run(t, everyField(), nil, host, library, "notices", lossy(t))
	run(t, "", nil, host, library, "strange", sample(t, 20))
	cross(t, nil, host, library)
}

// someJSON names the fields of the library for any JSON, with pointers of several sorts.
const someJSON = "json.value[]\njson.value[/auditID]\njson.value[/user]\njson.obj\njson.rawtime\njevt.value[/user/groups/0]\njevt.value[stage]\n" +
	"jevt.value[/responseStatus/code]\njevt.value[/annotations/authorization.k8s.io~1decision]\njevt.value[/requestObject/spec]\njevt.value[/]\njevt.obj\njevt.rawtime\n"

// pieces writes a sample that has, beside whole events, some that are cut and some other JSON.
func pieces(t testing.TB, n int) string {
	t.Helper()
	file := sample(t, n)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		if i%5 == 4 {
			line = line[:len(line)*2/3]
		}
		all = append(append(all, line...), "\n[{\"verb\":\"get\"},\"x\\u0000\", 1e3]\n"...)
	}
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheJSONLibraryKeepsItsPromises(t *testing.T) {
	_, host := build(t, nil, nil)
	library := filepath.Join(filepath.Dir(host), "libjson.so")
	buildLibrary(t, library, "kaudit/plugin/json")
	var result struct{ Events, Fields int }
	if err := json.Unmarshal(run(t, someJSON, nil, host, library, "json", pieces(t, 20)), &result); err != nil {
		t.Fatal(err)
	}
	if want := strings.Count(someJSON, "\n"); result.Events < 100 || result.Fields != want {
		t.Errorf("checked only %d events and %d fields", result.Events, result.Fields)
	}
}

// A host takes a library that exports some of these for one that has them all (falcosecurity/libs:
// userspace/plugin/plugin_loader.c, plugin_get_capabilities), and asks it for events.
func TestTheJSONLibraryOnlyAnswers(t *testing.T) {
	library := filepath.Join(t.TempDir(), "libjson.so")
	buildLibrary(t, library, "kaudit/plugin/json")
	file, err := elf.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF && strings.HasPrefix(s.Name, "plugin_") {
			got = append(got, strings.TrimPrefix(s.Name, "plugin_"))
		}
	}
	slices.Sort(got)
	want := []string{
		"destroy", "extract_fields", "get_contact", "get_description", "get_extract_event_sources", "get_extract_event_types", "get_fields",
		"get_init_schema", "get_last_error", "get_name", "get_required_api_version", "get_version", "init",
	}
	if !slices.Equal(got, want) {
		t.Errorf("it exports %q, want %q", got, want)
	}
}

// libs 0.11, the first that can load the library, copies the names and sentences of fields into arrays
// (userspace/libsinsp/event.h: filtercheck_field_info); a longer name could not be used in any rule.
func TestFieldsFitOldHosts(t *testing.T) {
	for _, f := range slices.Concat(extract.Fields(), extract.JSONFields()) {
		if len(f.Name) > 63 || len(f.Doc) > 1023 || f.Doc == "" {
			t.Errorf("%s: %d bytes of name, %d of description", f.Name, len(f.Name), len(f.Doc))
		}
	}
}

func TestAddressSanitizerFindsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the library a second time")
	}
	library, host := build(t, []string{"-asan"}, []string{"-fsanitize=address"})
	// Go's own memory and what the library keeps until the process ends are no leaks.
	env := []string{"ASAN_OPTIONS=detect_leaks=0"}
	run(t, everyField(), env, host, library, "check", sample(t, 100))
	run(t, everyField(), env, host, library, "notices", lossy(t))
	run(t, "", env, host, library, "strange", sample(t, 100))
	cross(t, env, host, library)
	buildLibrary(t, library, "kaudit/plugin/json", "-asan")
	run(t, someJSON, env, host, library, "json", pieces(t, 100))
}

func TestRaceDetectorFindsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the library a third time")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("where the race detector wants its memory is known for amd64 only")
	}
	// The detector keeps its notes at a multiple of each address, and for those at which libraries usually lie there is
	// no room: below Go's heap there is.
	low := "-ldflags=-extldflags=-Wl,-Ttext-segment=0x4000000000"
	library, host := build(t, []string{"-race", low}, nil)
	env := []string{"GORACE=halt_on_error=1"} // a host in C would end well in spite of a race
	run(t, everyField(), env, host, library, "check", sample(t, 200))
	run(t, everyField(), env, host, library, "notices", lossy(t))
	cross(t, env, host, library)
	buildLibrary(t, library, "kaudit/plugin/json", "-race", low)
	run(t, someJSON, env, host, library, "json", pieces(t, 100))
}

// typical are fields as a ruleset asks them of an ordinary event.
const typical = "ka.auditid\nka.stage\nka.verb\nka.user.name\nka.user.groups\nka.target.resource\nka.target.subresource\nka.target.namespace\nka.target.name\nka.uri\n" +
	"ka.code\nka.auth.decision\nka.sourceips\nka.useragent\nka.req.pod.containers.image\nka.req.pod.containers.privileged\nka.pod.privileged\nka.action\nka.obj.name\nka.impuser.name\n"

// BenchmarkLoneEvent posts single events and waits for next_batch to return each; then it lets next_batch time out.
func BenchmarkLoneEvent(b *testing.B) {
	library, host := build(b, nil, nil)
	var result struct {
		P50  float64 `json:"p50_us"`
		P99  float64 `json:"p99_us"`
		Idle float64 `json:"idle_cpu_percent"`
	}
	for b.Loop() {
		if err := json.Unmarshal(run(b, "", nil, host, library, "latency", address(b)), &result); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(result.P50, "us-p50")
	b.ReportMetric(result.P99, "us-p99")
	b.ReportMetric(result.Idle, "%cpu-idle")
}

// BenchmarkLibrary reads a recording of about 100 MB through next_batch and asks for twenty fields of each event, from C.
// The recording is the shipped one, over and over.
func BenchmarkLibrary(b *testing.B) {
	library, host := build(b, nil, nil)
	one, err := os.ReadFile(sample(b, 1))
	if err != nil {
		b.Fatal(err)
	}
	// Piece by piece: what this process holds in memory counts as the host's, which is forked from it.
	file, err := os.Create(filepath.Join(b.TempDir(), "audit.log"))
	if err != nil {
		b.Fatal(err)
	}
	times := 100<<20/len(one) + 1
	for range times {
		if _, err := file.Write(one); err != nil {
			b.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(one) * times))
	b.ResetTimer()
	var result struct {
		NS  float64 `json:"ns_per_call"`
		MB  float64 `json:"mb_per_s"`
		RSS float64 `json:"max_rss_mb"`
		CPU float64 `json:"cpu_seconds"`
	}
	for range b.N {
		if err := json.Unmarshal(run(b, typical, nil, host, library, "bench", file.Name()), &result); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(result.MB, "MB/s-read") // without starting the process
	b.ReportMetric(result.NS, "ns/extract")
	b.ReportMetric(result.RSS, "MB-resident")
	b.ReportMetric(result.CPU, "cpu-s")
}

// BenchmarkJSONLibrary asks of recorded events what the official rules ask of an ordinary one: its stage, and by the macro
// for rules that are never to hold its time, 67 calls in all. JSON_PLUGIN names another json plugin to compare with.
func BenchmarkJSONLibrary(b *testing.B) {
	_, host := build(b, nil, nil)
	library := filepath.Join(filepath.Dir(host), "libjson.so")
	buildLibrary(b, library, "kaudit/plugin/json")
	libraries := map[string]string{"kaudit": library}
	if other := os.Getenv("JSON_PLUGIN"); other != "" {
		libraries["other"] = other
	}
	asked := strings.Repeat("jevt.value[/stage]\n", 60) + strings.Repeat("jevt.rawtime\n", 7)
	file := sample(b, 1)
	for name, library := range libraries {
		b.Run(name, func(b *testing.B) {
			var result struct {
				NS float64 `json:"ns_per_event"`
			}
			for b.Loop() {
				if err := json.Unmarshal(run(b, asked, nil, host, library, "ask", file), &result); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(result.NS, "ns/event")
		})
	}
}
