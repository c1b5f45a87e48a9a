// Command place copies what the container image of kaudit holds to folders that are mounted into it. The image has no
// shell and no cp; as an init container of a Falco pod it runs this.
//
//	place /usr/share/falco/plugins/libk8saudit.so=/plugins /etc/falco/kaudit_rules.yaml=/rules
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("name what to copy, as FILE=FOLDER"))
	}
	for _, arg := range os.Args[1:] {
		from, folder, ok := strings.Cut(arg, "=")
		if !ok {
			fail(fmt.Errorf("%q does not say where to; write FILE=FOLDER", arg))
		}
		if err := place(from, folder); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "place:", err)
	os.Exit(1)
}

// place copies a file. Falco may be reading the one that it replaces, so the new one gets its name when it is whole.
func place(from, folder string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	to := filepath.Join(folder, filepath.Base(from))
	out, err := os.CreateTemp(folder, ".place-")
	if err != nil {
		return fmt.Errorf("%s: is the folder mounted, and may this user write to it? %w", folder, err)
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Chmod(info.Mode()), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(out.Name(), to); err != nil {
		return err
	}
	fmt.Println(to)
	return nil
}
