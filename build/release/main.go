// Command release makes what kaudit is installed from: falcoctl's artifacts and a container image as OCI layouts, a
// Debian package, archives, bills of materials and checksums; and pushes the layouts to a registry.
//
//	release [-root DIR] [-out DIR] [-arch amd64,arm64] dist
//	release [-root DIR] rules                      writes the rules as one file, to standard output
//	release [-out DIR] [-plain-http] [-key FILE | -issuer URL -identity REGEXP] push REGISTRY
//
// The same commit, Go and C compiler give the same bytes, whatever the folder and the day.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	root := flags.String("root", ".", "folder of the repository")
	out := flags.String("out", "dist/release", "folder for what is made")
	arch := flags.String("arch", "", "processors, comma separated; else amd64, and arm64 where "+arm64Compiler+" is on PATH")
	again := flags.Bool("rebuild", false, "dist: compile the library without what the go command has cached, to prove that it comes out the same")
	plain := flags.Bool("plain-http", false, "push: speak http with the registry")
	var s signers
	flags.StringVar(&s.Key, "key", "", "push: public key, a file or an address, with which falcoctl verifies; for the index")
	flags.StringVar(&s.Issuer, "issuer", "", "push: OIDC issuer of keyless signatures; for the index")
	flags.StringVar(&s.Identity, "identity", "", "push: regular expression of who signs keylessly; for the index")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch command := flags.Arg(0); {
	case command == "dist" && flags.NArg() == 1:
		platforms, err := processors(*arch)
		if err != nil {
			return err
		}
		return dist(ctx, *root, *out, platforms, *again)
	case command == "rules" && flags.NArg() == 1:
		_, _, rules, err := project(*root)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(rules.text)
		return err
	case command == "push" && flags.NArg() == 2:
		return push(ctx, *out, strings.TrimSuffix(flags.Arg(1), "/"), *plain, s)
	}
	return errors.New("write release dist, release rules, or release push REGISTRY")
}
