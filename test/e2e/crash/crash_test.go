//go:build linux

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaudit/test/e2e"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(hostVariable); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, "host:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// kills is how often the host is killed: a short form, or as many as KAUDIT_KILLS says.
func kills(t *testing.T) int {
	text := os.Getenv("KAUDIT_KILLS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("KAUDIT_KILLS: %q is no number of kills", text)
	}
	return n
}

// start starts a host.
func start(t *testing.T, h host) (cmd *exec.Cmd, log *bytes.Buffer) {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	log = new(bytes.Buffer)
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hostVariable+"="+string(text))
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, log
}

// A sender posts deliveries and keeps the audit IDs of those that were acknowledged. Each is sent once: one whose
// answer did not come may or may not be evaluated.
type sender struct {
	url    string
	client *http.Client

	mu           sync.Mutex
	sent         int // deliveries
	acknowledged []string
	refused      int // answered 429
	slowest      time.Duration
}

// send posts deliveries, numbered from 0, until ctx ends.
func (s *sender) send(ctx context.Context, name int) {
	random := rand.New(rand.NewPCG(uint64(name), 7))
	for n := 0; ctx.Err() == nil; n++ {
		events := 1 + random.IntN(400)
		var body bytes.Buffer
		var ids []string
		body.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[`)
		for i := range events {
			id := fmt.Sprintf("s%02d-%06d-%03d", name, n, i)
			ids = append(ids, id)
			if i > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `{"kind":"Event","level":"Metadata","auditID":"%s","stage":"ResponseComplete","stageTimestamp":"2026-01-01T00:00:00.000000Z","userAgent":"%s"}`,
				id, strings.Repeat("x", random.IntN(2000)))
		}
		body.WriteString(`]}`)
		began := time.Now()
		response, err := s.client.Post(s.url, "application/json", &body)
		took := time.Since(began)
		s.mu.Lock()
		s.sent++
		if err == nil {
			switch response.Body.Close(); response.StatusCode {
			case http.StatusOK:
				s.acknowledged = append(s.acknowledged, ids...)
			case http.StatusTooManyRequests:
				s.refused++
			}
			s.slowest = max(s.slowest, took)
		}
		s.mu.Unlock()
		if err != nil || response.StatusCode != http.StatusOK {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func newSender(address string, patience time.Duration) *sender {
	return &sender{
		url:    "http://" + address + "/k8s-audit",
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
	}
}

// An evaluation is what a host wrote down.
type evaluation struct {
	runs   [][]string        // of audit IDs
	counts map[string]uint64 // of the last host
	told   []string          // notices
}

func evaluated(t *testing.T, path string) (e evaluation) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e.counts = map[string]uint64{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		switch kind, rest, _ := strings.Cut(line, " "); {
		case kind == "run":
			e.runs = append(e.runs, nil)
		case kind == "notice":
			e.told = append(e.told, rest)
		case kind == "count":
			var name string
			var n uint64
			fmt.Sscan(rest, &name, &n)
			e.counts[name] = n
		case len(line) == len("s00-000000-000"):
			e.runs[len(e.runs)-1] = append(e.runs[len(e.runs)-1], line)
		}
	}
	return e
}

// missing returns what was acknowledged and not evaluated.
func (e evaluation) missing(acknowledged []string) (list []string) {
	has := map[string]bool{}
	for _, run := range e.runs {
		for _, id := range run {
			has[id] = true
		}
	}
	for _, id := range acknowledged {
		if !has[id] {
			list = append(list, id)
		}
	}
	return list
}

func delivery(id string) string { return id[:len("s00-000000")] }

// repeats returns which deliveries each run repeated of the runs before it, and fails if there is more than one, if it
// is not the first of the run, or if a delivery comes twice in one run or in another order than it was sent in.
func (e evaluation) repeats(t *testing.T) (list []string) {
	seen := map[string]bool{}     // events
	newest := map[string]string{} // delivery by sender
	for n, run := range e.runs {
		own := map[string]bool{}
		again := map[string]bool{}
		for _, id := range run {
			d := delivery(id)
			if own[id] {
				t.Errorf("run %d evaluated %s twice", n+1, id)
			}
			own[id] = true
			if seen[id] && !again[d] {
				again[d] = true
				list = append(list, d)
				if d != delivery(run[0]) {
					t.Errorf("run %d repeated %s, which is not the first it evaluated", n+1, d)
				}
			}
			if who := d[:3]; !again[d] {
				if d < newest[who] {
					t.Errorf("run %d evaluated %s after %s", n+1, d, newest[who])
				}
				newest[who] = d
			}
		}
		if len(again) > 1 {
			t.Errorf("run %d repeated %d deliveries", n+1, len(again))
		}
		for id := range own {
			seen[id] = true
		}
	}
	return list
}

// settle runs a last host until everything acknowledged is evaluated, and stops it.
func settle(t *testing.T, h host, acknowledged []string) evaluation {
	t.Helper()
	cmd, log := start(t, h)
	defer cmd.Process.Kill()
	deadline := time.Now().Add(2 * time.Minute)
	for missing := acknowledged; len(missing) > 0; time.Sleep(50 * time.Millisecond) {
		missing = evaluated(t, h.Evaluated).missing(missing)
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d acknowledged events were never evaluated, the first %s; %v\n%s", len(missing), len(acknowledged), missing[0], evaluated(t, h.Evaluated).counts, log)
		}
	}
	time.Sleep(100 * time.Millisecond) // what was written and not acknowledged comes, too
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return evaluated(t, h.Evaluated)
}

// tear leaves the end of the newest segment as a power cut may: with bytes that are no record.
func tear(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.spool*"))
	if err != nil || len(files) == 0 {
		return
	}
	f, err := os.OpenFile(files[len(files)-1], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := make([]byte, 1+rand.IntN(5000))
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	if _, err := f.Write(noise); err != nil {
		t.Fatal(err)
	}
}

// TestNothingAcknowledgedIsLost kills the host again and again under load.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	dir := t.TempDir()
	h := host{
		Dir: filepath.Join(dir, "spool"), MaxBytes: 256 << 20, Evaluated: filepath.Join(dir, "evaluated"),
		Open: "http://" + e2e.FreeAddress(t) + "/k8s-audit",
	}
	address := strings.TrimSuffix(strings.TrimPrefix(h.Open, "http://"), "/k8s-audit")
	s := newSender(address, 20*time.Second)
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for name := range 4 {
		sending.Go(func() { s.send(ctx, name) })
	}
	n := kills(t)
	for h.Run = 1; h.Run <= n; h.Run++ {
		h.Pace = time.Duration(rand.IntN(4)) * time.Millisecond // some keep up, others leave a backlog
		cmd, log := start(t, h)
		// From before it listens, to a while after.
		time.Sleep(time.Duration(10+rand.IntN(400)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("the host ended by itself: %v\n%s", cmd.ProcessState, log)
		}
		if h.Run%5 == 0 {
			tear(t, h.Dir)
		}
	}
	stop()
	sending.Wait()
	h.Pace = 0
	e := settle(t, h, s.acknowledged)
	repeated := e.repeats(t)
	if len(repeated) > n {
		t.Errorf("%d deliveries were repeated in %d kills", len(repeated), n)
	}
	events := 0
	for _, run := range e.runs {
		events += len(run)
	}
	if len(s.acknowledged) == 0 || e.counts["spool.lost_records"] != 0 {
		t.Errorf("%d events were acknowledged; the last host counts %v", len(s.acknowledged), e.counts)
	}
	for _, notice := range e.told {
		if strings.HasPrefix(notice, "events_lost") {
			t.Errorf("a host told of %s", notice)
		}
	}
	t.Logf("%d kills, %d deliveries sent, %d events acknowledged, %d evaluated, %d deliveries repeated, 0 events lost",
		n, s.sent, len(s.acknowledged), events, len(repeated))
}

// TestAFullDisk has a small file system fill up, again and again, while the host evaluates less than comes.
func TestAFullDisk(t *testing.T) {
	dir, disk := t.TempDir(), t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	h := host{
		Run: 1, Dir: filepath.Join(disk, "spool"), MaxBytes: 16 << 20, Evaluated: filepath.Join(dir, "evaluated"),
		Open: "http://" + e2e.FreeAddress(t) + "/k8s-audit", Pace: 40 * time.Millisecond,
	}
	address := strings.TrimSuffix(strings.TrimPrefix(h.Open, "http://"), "/k8s-audit")
	s := newSender(address, 20*time.Second)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd, log := start(t, h)
	var sending sync.WaitGroup
	for name := range 4 {
		sending.Go(func() { s.send(ctx, name) })
	}
	ready := func() int {
		response, err := s.client.Get("http://" + address + "/readyz")
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	notReady := 0
	for began := time.Now(); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if ready() == http.StatusServiceUnavailable {
			notReady++
		}
		s.mu.Lock()
		if s.refused >= 50 && notReady > 0 && time.Since(began) > 4*time.Second {
			stop()
		}
		s.mu.Unlock()
	}
	sending.Wait()
	if notReady == 0 {
		t.Error("the host was ready all the time")
	}
	for deadline := time.Now().Add(30 * time.Second); ready() != http.StatusOK; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the host does not become ready again\n%s", log)
		}
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatalf("the host ended by itself: %v\n%s", err, log)
	}
	cmd.Process.Kill()
	cmd.Wait()
	h.Run, h.Pace = 2, 0
	e := settle(t, h, s.acknowledged)
	e.repeats(t)
	if s.refused == 0 || len(s.acknowledged) == 0 || len(e.told) == 0 {
		t.Errorf("%d deliveries were refused, %d events acknowledged, rules were told %v", s.refused, len(s.acknowledged), e.told)
	}
	if s.slowest > 5*time.Second {
		t.Errorf("an answer took %v", s.slowest)
	}
	t.Logf("%d deliveries sent, %d refused, %d events acknowledged, slowest answer %v, 0 events lost", s.sent, s.refused, len(s.acknowledged), s.slowest)
}
