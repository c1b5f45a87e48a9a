//go:build linux

package packaging

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The same tree gives the same bytes in another folder, and with a library that is compiled anew instead of taken from the
// go command's cache.
func TestTheSameTreeMakesTheSameBytes(t *testing.T) {
	var sums [2]string
	for i, dir := range []string{distribution(t), distributionOf(t, copyTree(t), "-rebuild")} {
		text, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(text)
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ:\n%s\n%s", sums[0], sums[1])
	}
}

// The libraries load where Falco runs: their newest symbols of the C library are those of glibc 2.34, which Falco's own
// images and every distribution since 2022 have.
func TestTheLibrariesNeedAnOldCLibraryOnly(t *testing.T) {
	for _, name := range []string{"libk8saudit.so", "libjson.so"} {
		t.Run(name, func(t *testing.T) { needsAnOldCLibrary(t, filepath.Join(distRules(t, distribution(t)), name)) })
	}
}

func needsAnOldCLibrary(t *testing.T, library string) {
	file, err := elf.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.ImportedSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		var minor int
		version, is := strings.CutPrefix(s.Version, "GLIBC_2.")
		for _, digit := range strings.SplitN(version, ".", 2)[0] {
			minor = minor*10 + int(digit-'0')
		}
		if is && minor > 34 {
			t.Errorf("%s needs %s", s.Name, s.Version)
		}
	}
	libraries, err := file.ImportedLibraries()
	if want := []string{"libc.so.6"}; err != nil || !slices.Equal(libraries, want) {
		t.Errorf("it links with %q, want %q: %v", libraries, want, err)
	}
}
