package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("packaging", flag.ContinueOnError)
	root := flags.String("root", "../../..", "the repository")
	out := flags.String("out", "dist", "the folder to write to")
	version := flags.String("version", "", "the version, such as 1.2.3 (default: the commit's tag, or its time and hash)")
	architectures := flags.String("arch", "amd64,arm64", "architectures, in Go's names")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	r, err := newRelease(ctx, *root, *version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "ttydrain-packaging-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	var written []string
	for arch := range strings.SplitSeq(*architectures, ",") {
		files, err := r.write(ctx, arch, filepath.Join(work, arch), *out)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		written = append(written, files...)
	}
	slices.Sort(written)
	sums, err := writeSums(*out, written)
	if err != nil {
		return err
	}
	for _, file := range append(written, sums) {
		fmt.Println(file)
	}
	return nil
}
