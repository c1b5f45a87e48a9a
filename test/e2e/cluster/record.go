package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// record starts a cluster, drives it, stops it, and writes what its API server recorded. With a webhook, what the API server
// posts goes there. With only, nobody attacks.
func record(ctx context.Context, log *slog.Logger, rounds int, only bool, out string, webhook webhookTarget) error {
	if (rounds > 1 || only || webhook != (webhookTarget{})) && out == "" {
		return errors.New("a recording of more than one round, without attacks, or without what a webhook gets, is not for the repository: name a folder with -out")
	}
	moduleDir, err := findModule()
	if err != nil {
		return err
	}
	if out == "" {
		out = repository(moduleDir)
	}
	bin, err := buildBinaries(ctx, log, moduleDir)
	if err != nil {
		return err
	}
	bodies := func() [][]byte { return nil }
	if webhook == (webhookTarget{}) {
		receiver, err := startReceiver(log)
		if err != nil {
			return err
		}
		defer receiver.close()
		webhook.url, bodies = receiver.url, receiver.bodies
	}

	cluster, err := startControlPlane(ctx, log, bin, webhook)
	if err != nil {
		return err
	}
	taken, err := drive(ctx, log, cluster, rounds, only)
	if err = errors.Join(err, cluster.stop()); err != nil {
		return err
	}
	return taken.write(log, out, bodies())
}

// A take is what one run of a cluster left: its audit log, where the attacks begin in it, and what is wanted of it.
type take struct {
	ordinary, addOns, attacks recording
	fixtures                  []fixture
}

// drive sends all requests and reads the audit log. The log has everything when it returns: the log backend writes an event
// before the client gets its answer, only the ends of streams and watches come after.
func drive(ctx context.Context, log *slog.Logger, cluster *controlPlane, rounds int, only bool) (*take, error) {
	d, err := newDriver(ctx, log, cluster)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	d.prepareOrdinary()
	d.rounds(rounds)
	boundary, err := auditLogSize(cluster)
	if err != nil {
		return nil, err
	}
	log.Info("ordinary work done", "took", time.Since(begin).Round(time.Second), "bytes", boundary)

	working, worked := boundary, boundary
	if rounds == 1 {
		by := d.installAddOns()
		if working, err = auditLogSize(cluster); err != nil {
			return nil, err
		}
		d.addOnsAtWork(by)
		if worked, err = auditLogSize(cluster); err != nil {
			return nil, err
		}
	}
	if rounds == 1 && !only && ctx.Err() == nil {
		begin = time.Now()
		d.attacks()
		log.Info("attacks done", "took", time.Since(begin).Round(time.Second))
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := errors.Join(d.failures...); err != nil {
		return nil, fmt.Errorf("the cluster was driven, but not everything went as planned:\n%w", err)
	}
	// Streams end and the webhook's last batch leaves within a second.
	time.Sleep(3 * time.Second)
	content, err := os.ReadFile(cluster.auditLog())
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	t := &take{fixtures: d.fixtures}
	if t.ordinary, err = readRecording(content[:boundary]); err != nil {
		return nil, err
	}
	if t.addOns, err = readRecording(content[working:worked]); err != nil {
		return nil, err
	}
	t.attacks, err = readRecording(content[worked:])
	return t, err
}

// auditLogSize tells how much was recorded so far.
func auditLogSize(cluster *controlPlane) (int64, error) {
	info, err := os.Stat(cluster.auditLog())
	if err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	return info.Size(), nil
}

// rounds does ordinary work. Rounds wait for controllers most of the time, so some go on at once.
func (d *driver) rounds(n int) {
	const atOnce = 6
	var working sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for round := 1; round <= n && d.ctx.Err() == nil; round++ {
		places <- struct{}{}
		d.log.Info("ordinary work", "round", round)
		working.Go(func() {
			d.ordinary(round)
			<-places
		})
	}
	working.Wait()
}

// write puts everything into its place below root.
func (t *take) write(log *slog.Logger, root string, bodies [][]byte) error {
	files := []struct {
		name  string
		lines [][]byte
	}{
		{"ordinary.jsonl.gz", t.ordinary.lines},
		{"addons.jsonl.gz", t.addOns.lines},
		{"attacks.jsonl.gz", t.attacks.lines},
		{"webhook.jsonl.gz", chooseBodies(bodies, 8, 400<<10)},
	}
	if len(t.fixtures) == 0 {
		files = files[:2]
	}
	for _, f := range files {
		if len(f.lines) == 0 {
			continue
		}
		path := filepath.Join(root, "testdata", "recordings", f.name)
		size, err := writeCompressed(path, f.lines)
		if err != nil {
			return err
		}
		log.Info("written", "file", f.name, "lines", len(f.lines), "bytes", size)
	}
	if len(t.fixtures) == 0 {
		return nil
	}
	all := recording{append(t.ordinary.lines, t.attacks.lines...), append(t.ordinary.events, t.attacks.events...)}
	counts, err := writeFixtures(root, all, t.fixtures)
	if err != nil {
		return err
	}
	fmt.Print(table(counts))
	return nil
}
