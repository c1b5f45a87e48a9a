package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaudit/internal/doctor"
)

// start writes what /proc has of a process.
func (s *subject) start(t *testing.T, pid, comm, namespace string, args ...string) {
	t.Helper()
	s.write(t, "proc/"+pid+"/comm", []byte(comm+"\n"))
	s.write(t, "proc/"+pid+"/cmdline", []byte(strings.Join(append([]string{"/usr/bin/" + comm}, args...), "\x00")+"\x00"))
	for name, to := range map[string]string{"ns/mnt": namespace, "cwd": s.dir} {
		link := filepath.Join(s.dir, "proc", pid, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProcess has a Falco that runs, and looks at what it was started with.
func TestProcess(t *testing.T) {
	for name, test := range map[string]struct {
		start  func(t *testing.T, s *subject)
		config string
		want   []string
	}{
		"its command line counts": {
			func(t *testing.T, s *subject) {
				s.start(t, "7", "falco", "mnt:[1]", "-c", "falco.yaml", "-o", "stdout_output.enabled=true", "-r"+s.dir+"/rules.yaml", "--disable-source=syscall", "-U")
			}, "",
			[]string{"ok process: Falco runs as process 7, with falco.yaml", "ok outputs: alerts go to stdout_output", "ok rules: evaluated on audit events: 1 rule, and 0 are disabled"},
		},
		"another configuration": {
			func(t *testing.T, s *subject) { s.start(t, "7", "falco", "mnt:[1]") }, "falco.yaml",
			[]string{"warn process: Falco runs as process 7, with /etc/falco/falco.yaml, and not with falco.yaml"},
		},
		"in a container": {
			func(t *testing.T, s *subject) { s.start(t, "7", "falco", "mnt:[2]") }, "falco.yaml",
			[]string{"warn process: Falco runs as process 7, in a container: the files seen here are not its own"},
		},
		"two": {
			func(t *testing.T, s *subject) {
				s.start(t, "7", "falco", "mnt:[1]", "-c", s.dir+"/falco.yaml")
				s.start(t, "12", "falco", "mnt:[1]")
			}, "falco.yaml",
			[]string{"ok process: Falco runs as process 7, with falco.yaml", "warn process: 2 processes of Falco run; only one can have a port"},
		},
		"something else": {
			func(t *testing.T, s *subject) { s.start(t, "7", "falcoctl", "mnt:[1]") }, "falco.yaml",
			[]string{"ok configuration: falco.yaml is read"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t)
			s.write(t, "falco.yaml", []byte("plugins: [{name: k8saudit, library_path: libk8saudit.so, open_params: '-'}]\n"))
			s.start(t, "self", "doctor", "mnt:[1]")
			test.start(t, s)
			s.options.Offline, s.options.Config = false, test.config
			if test.config != "" {
				s.options.Config = filepath.Join(s.dir, test.config)
			}
			report, err := doctor.Run(t.Context(), s.options)
			if err != nil {
				t.Fatal(err)
			}
			text := "\n" + s.render(report)
			for _, want := range test.want {
				if !strings.Contains(text, "\n"+want+"\n") {
					t.Errorf("want %s in%s", want, text)
				}
			}
			if first := "\n" + test.want[0] + "\n"; !strings.HasPrefix(text, first) {
				t.Errorf("want %s first in%s", test.want[0], text)
			}
		})
	}
}
