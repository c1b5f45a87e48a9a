// Command cluster runs a real Kubernetes control plane on the loopback interface, for tests and for recording audit events.
//
//	go run . record   drives a cluster through ordinary work and attacks, and keeps the audit events in the repository
//	go run . run      keeps a cluster up until Ctrl-C
//	go run . programs builds the programs it needs, and says where they are
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

const usage = `usage:
  cluster record [-n rounds] [-peaceful] [-webhook url | -webhook-config file] [-out folder]    record real audit events
  cluster run [-webhook url [-webhook-ca file] | -webhook-config file] [-api-server flag]...    keep a cluster up until Ctrl-C
  cluster programs    build the programs of a cluster, kubeadm and kubectl, and print their folder
`

func main() {
	// The programs of the control plane are tied to the thread that starts them, see startProcess.
	runtime.LockOSThread()
	if len(os.Args) > 1 && os.Args[1] == hostedCommand {
		fmt.Fprintln(os.Stderr, hosted(os.Args[2:]))
		os.Exit(1)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("no subcommand\n" + usage)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	// What goes wrong inside client-go comes back as errors, its own log lines would only be mixed into ours.
	klog.SetLogger(logr.Discard())
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	switch args[0] {
	case "record":
		rounds := flags.Int("n", 1, "rounds of ordinary work; with more than one, only ordinary.jsonl.gz is written, into -out")
		out := flags.String("out", "", "root of the tree to write into (default: the repository)")
		only := flags.Bool("peaceful", false, "leave the attacks out, and write ordinary.jsonl.gz and addons.jsonl.gz only, into -out")
		var target webhookTarget
		flags.StringVar(&target.url, "webhook", "", "URL the API server posts its audit events to besides; then webhook.jsonl.gz is not written")
		flags.StringVar(&target.config, "webhook-config", "", "kubeconfig by which it does, in place of an URL")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return record(ctx, log, *rounds, *only, *out, target)
	case "run":
		var target webhookTarget
		flags.StringVar(&target.url, "webhook", "", "URL the API server posts its audit events to")
		flags.StringVar(&target.ca, "webhook-ca", "", "file with the certificates to trust for an https webhook; without it none is checked")
		flags.StringVar(&target.config, "webhook-config", "", "kubeconfig by which it does, in place of an URL")
		var more []string
		flags.Func("api-server", "flag of the API server, as --audit-policy-file=/etc/policy.yaml; as often as wanted", func(s string) error {
			more = append(more, s)
			return nil
		})
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return run(ctx, log, target, more)
	case "programs":
		moduleDir, err := findModule()
		if err != nil {
			return err
		}
		bin, err := buildBinaries(ctx, log, moduleDir)
		if err != nil {
			return err
		}
		fmt.Println(bin)
		return nil
	default:
		return fmt.Errorf("unknown subcommand %q\n%s", args[0], usage)
	}
}

// run keeps a cluster up until ctx ends.
func run(ctx context.Context, log *slog.Logger, target webhookTarget, flags []string) (err error) {
	moduleDir, err := findModule()
	if err != nil {
		return err
	}
	bin, err := buildBinaries(ctx, log, moduleDir)
	if err != nil {
		return err
	}
	cluster, err := startControlPlane(ctx, log, bin, target, flags...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.stop()) }()
	path, err := cluster.kubeconfig()
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\naudit log: %s\nCtrl-C stops the cluster and removes both\n", path, cluster.auditLog())
	<-ctx.Done()
	return nil
}

// repository is the root of the repository this module is in.
func repository(moduleDir string) string { return filepath.Join(moduleDir, "..", "..", "..") }
