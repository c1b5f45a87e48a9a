//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kaudit/test/e2e/engine"
)

const (
	// loneEvents are sent one by one, this long apart.
	loneEvents = 300
	loneEvery  = 100 * time.Millisecond
	// idleFor is how long nothing is sent, to see what waiting costs.
	idleFor = 20 * time.Second
)

// loneRule fires on the events sent here, and loneFloorRule on those of the floor. They stand behind the shipped rules: all
// of them are tried first.
var (
	loneRule      = engine.Rule{Name: "Lone", Condition: "ka.auditid startswith lone-", Output: "%ka.auditid", Priority: "NOTICE"}
	loneFloorRule = engine.Rule{Name: "Lone", Condition: `ka.auditid = "system:-"`, Output: "%evt.rawtime", Priority: "NOTICE"}
)

// latency posts lone events to the webhook and waits for each alert on Falco's standard output. Then the floor hands such
// events out: what that takes is the host's own.
func (b *bench) latency(ctx context.Context, page io.Writer) error {
	events, err := shippedEvents(b.root)
	if err != nil {
		return err
	}
	address, err := freePort()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	alerted := map[string]time.Time{}
	p, err := b.startOurs(ctx, "http://"+address+"/k8s-audit", engine.Run{
		Rules: []engine.Rule{loneRule},
		OnMatch: func(m engine.Match) {
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			alerted[m.Output] = now
		},
	})
	if err != nil {
		return err
	}
	defer p.Wait() //nolint:errcheck // what it says about the end does not matter any more
	defer p.Stop()
	conn, err := dial(ctx, p, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := map[string]time.Time{}
	answer := make([]byte, 4096)
	for i := range loneEvents {
		id := "lone-" + strconv.Itoa(i)
		request := post(address, &events[i%len(events)], id)
		sent[id] = time.Now()
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if n, err := conn.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200") {
			return fmt.Errorf("the webhook answered %.60q: %w", answer[:n], errors.Join(err))
		}
		time.Sleep(loneEvery)
	}
	idle, err := idleShare(p)
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	var took []time.Duration
	for id, at := range sent {
		if seen, ok := alerted[id]; ok {
			took = append(took, seen.Sub(at))
		}
	}
	if len(took) < loneEvents-loneEvents/100 { // an ordinary event may fire a rule before this one
		fmt.Fprintf(os.Stderr, "bench: latency: %d of %d events fired the rule\n", len(took), loneEvents)
	}
	if len(took) == 0 {
		return errors.New("latency: no alert came")
	}
	slices.Sort(took)
	fmt.Fprintf(page, "\n**Latency.** %d ordinary events, one every %v, each in a request of its own, through the shipped rules and one that fires. "+
		"From `write()` of the request to the alert read from standard output: half within %v, 99 of 100 within %v, the slowest %v. "+
		"Waiting takes %.2f %% of a processor (the whole process, %v). Load %s.\n",
		len(took), loneEvery, took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond),
		took[len(took)-1].Round(10*time.Microsecond), 100*idle, idleFor, load())
	return b.latencyOfHost(ctx, page)
}

// latencyOfHost is the same with the floor, from the moment an event is handed out.
func (b *bench) latencyOfHost(ctx context.Context, page io.Writer) error {
	floor, _, err := floors(b.root, b.dir)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var took []time.Duration
	p, err := b.startShipped(ctx, floor, "", fmt.Sprintf("every %d %d", loneEvery.Milliseconds(), loneEvents), engine.Run{
		Rules: []engine.Rule{loneFloorRule},
		OnMatch: func(m engine.Match) {
			now := time.Now()
			if ns, err := strconv.ParseInt(m.Output, 10, 64); err == nil {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, now.Sub(time.Unix(0, ns)))
			}
		},
	})
	if err != nil {
		return err
	}
	defer p.Wait() //nolint:errcheck // as above
	defer p.Stop()
	for count := 0; count < loneEvents; time.Sleep(loneEvery) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.Done():
			_, err := p.Wait()
			return fmt.Errorf("the engine ended: %w", err)
		default:
		}
		mu.Lock()
		count = len(took)
		mu.Unlock()
	}
	idle, err := idleShare(p)
	if err != nil {
		return err
	}
	slices.Sort(took)
	fmt.Fprintf(page, "With the floor in its place, from the moment it hands the event out: half within %v, 99 of 100 within %v; waiting takes %.2f %%.\n",
		took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond), 100*idle)
	return nil
}

// idleShare returns how much of a processor a process takes while nothing comes.
func idleShare(p *engine.Process) (float64, error) {
	used, err := cpuTime(p.PID())
	if err != nil {
		return 0, err
	}
	time.Sleep(idleFor)
	after, err := cpuTime(p.PID())
	return (after - used).Seconds() / idleFor.Seconds(), err
}

// startOurs starts this library with the shipped rules.
func (b *bench) startOurs(ctx context.Context, open string, run engine.Run) (*engine.Process, error) {
	return b.startShipped(ctx, b.library, "{}", open, run)
}

// startShipped starts a k8saudit plugin with the shipped rules.
func (b *bench) startShipped(ctx context.Context, library, init, open string, run engine.Run) (*engine.Process, error) {
	files, err := filepath.Glob(filepath.Join(b.root, "rules", "*.yaml"))
	if err != nil {
		return nil, err
	}
	run.Plugins = []engine.Plugin{{Path: library, Init: init, Name: "k8saudit"}}
	run.Open, run.First = open, true
	return b.host.start(ctx, run, files, len(run.Rules) > 0)
}

// post is a request with one event.
func post(address string, e *auditEvent, id string) []byte {
	copied := *e
	copied.AuditID = id
	body, err := marshal(&copied)
	if err != nil {
		panic(err) // it was read from JSON
	}
	return fmt.Appendf(nil, "POST /k8s-audit HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, len(body), body)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// dial connects to a port as soon as somebody listens there.
func dial(ctx context.Context, p *engine.Process, address string) (net.Conn, error) {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn, nil
		}
		select {
		case <-p.Done():
			_, err := p.Wait()
			return nil, fmt.Errorf("the engine ended: %w", err)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cpuTime returns the processor time of a process's threads that live.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f, err)
		}
		sum += time.Duration(ns)
	}
	return sum, err
}
