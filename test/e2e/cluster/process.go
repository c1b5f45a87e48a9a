package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// hostedCommand is the hidden subcommand that a process of ours begins as, see startProcess.
const hostedCommand = "hosted"

// A process is one running program of the control plane.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	// exited is closed once the program is gone; err says why.
	exited chan struct{}
	err    error
}

// startProcess starts a program with its output in a file of dir. The program sees hostname as the name of its machine,
// where the system permits that: Kubernetes programs put the host's name into leases, and a recording should not name the
// machine it was made on.
//
// The caller has to be on the main thread, locked: the kernel kills the program when the thread that started it ends.
func startProcess(dir, hostname, name, program string, args ...string) (*process, error) {
	p, err := startWith(dir, name, "/proc/self/exe", append([]string{hostedCommand, hostname, program}, args...), hostNamespace())
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		p, err = startWith(dir, name, program, args, &syscall.SysProcAttr{})
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// hostNamespace asks for a host name of the child's own, which takes a user namespace for those who are not root.
func hostNamespace() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// hosted is what the child does first: take the host name, then become the program.
func hosted(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%s wants a host name and a program", hostedCommand)
	}
	if err := syscall.Sethostname([]byte(args[0])); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}

func startWith(dir, name, program string, args []string, attr *syscall.SysProcAttr) (*process, error) {
	logPath := filepath.Join(dir, name+".log")
	output, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer output.Close()

	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = output, output
	// A group of its own keeps a terminal's Ctrl-C from reaching it: we stop the programs in order.
	attr.Setpgid = true
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, log: logPath, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop ends the program and returns when it is gone.
func (p *process) stop(patience time.Duration) error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended by itself: %v", p.name, p.err)
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(patience):
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	return fmt.Errorf("%s had to be killed: it did not stop in %s", p.name, patience)
}

// lastLines returns the end of what the program wrote, for an error message.
func (p *process) lastLines(n int) string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}
