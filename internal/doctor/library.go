package doctor

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"kaudit"
)

// machines are those of ELF files by Go's names for them.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM, "ppc64le": elf.EM_PPC64,
	"s390x": elf.EM_S390, "riscv64": elf.EM_RISCV, "loong64": elf.EM_LOONGARCH,
}

// Symbols of the plugin API (falcosecurity/libs: userspace/plugin/plugin_api.h, plugin_loader.c): those without which a
// library is no plugin, and those of the capabilities of ours.
var (
	everyPlugin = []string{
		"plugin_get_required_api_version", "plugin_get_name", "plugin_get_version", "plugin_get_description", "plugin_get_contact",
		"plugin_init", "plugin_destroy", "plugin_get_last_error",
	}
	sourcing   = []string{"plugin_get_id", "plugin_get_event_source", "plugin_open", "plugin_close", "plugin_next_batch"}
	extraction = []string{"plugin_get_fields", "plugin_extract_fields"}
)

// library looks at the file of a plugin without loading it.
func (e *examination) library(p *plugin, ours bool) {
	path, ok := e.path(p)
	if !ok {
		return
	}
	p.library = path
	at := e.config.at(find(p.node, "library_path"))
	f, err := elf.Open(path)
	var format *elf.FormatError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.fail(at, "install the library there, or write where it is", "%s is not there; Falco does not start", path)
		return
	case errors.Is(err, fs.ErrPermission):
		e.warn(at, "run kaudit doctor as the user that Falco runs as", "%s may not be read by this user", path)
		return
	case errors.As(err, &format), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.fail(at, "install the library of this machine: Linux, "+runtime.GOARCH, "%s is no ELF file, so no library; Falco does not start", path)
		return
	case err != nil:
		e.fail(at, "write the path of the library", "%s: %v; Falco does not start", path, unwrapped(err))
		return
	}
	defer f.Close()
	if want, known := machines[runtime.GOARCH]; known && f.Machine != want {
		e.fail(at, "install the library for "+runtime.GOARCH, "%s is for %v, and this machine is %s; Falco does not start", path, f.Machine, runtime.GOARCH)
		return
	}
	if f.Type != elf.ET_DYN {
		e.fail(at, "build it with -buildmode=c-shared", "%s is no shared library; Falco does not start", path)
		return
	}
	need := everyPlugin
	if ours {
		need = slices.Concat(everyPlugin, sourcing, extraction)
	}
	if missing := missingSymbols(f, need); len(missing) > 0 {
		e.fail(at, "install the plugin's library", "%s is a library and no plugin: it does not export %s", path, strings.Join(missing, ", "))
		return
	}
	if !ours {
		e.ok(at, "%s is a plugin for %s", path, runtime.GOARCH)
		return
	}
	info, err := buildinfo.ReadFile(path)
	if err == nil && !strings.HasPrefix(info.Path, "kaudit") {
		e.warn(at, "install the library of kaudit in its place; it takes the same configuration", "%s is made of %s: another plugin of this name, without the fields that rules of kaudit ask for", path, info.Path)
		return
	}
	if p.version = versionIn(path); p.version == "" {
		e.ok(at, "%s is a plugin for %s; which version cannot be told", path, runtime.GOARCH)
		return
	}
	id := kaudit.Plugin()
	if p.version != id.Version {
		e.warn(at, "install library and command of one version", "%s is version %s, and this command is %s", path, p.version, id.Version)
		return
	}
	e.ok(at, "%s is %s %s for %s", path, id.Name, p.version, runtime.GOARCH)
}

func missingSymbols(f *elf.File, need []string) []string {
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return need
	}
	missing := slices.Clone(need)
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == s.Name })
		}
	}
	return missing
}

var identity = regexp.MustCompile(`\nname: k8saudit\nid: \d+\nversion: (\d+\.\d+\.\d+\S*)\n`)

// versionIn finds the version of a library of this project: plugin.yaml is compiled in.
func versionIn(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if m := identity.FindSubmatch(content); m != nil {
		return string(m[1])
	}
	return ""
}
