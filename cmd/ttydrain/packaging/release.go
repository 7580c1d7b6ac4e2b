package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const command = "./cmd/ttydrain"

// A release is a version of ttydrain that is built and packaged.
type release struct {
	root    string
	version string // without a leading v
	time    time.Time
}

// newRelease describes the commit that is checked out in root. Without a version, it has that of
// the commit's tag, or one that increases with the commit's time.
func newRelease(ctx context.Context, root, version string) (*release, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	r := &release{root: root, version: strings.TrimPrefix(version, "v")}
	commit, err := r.output(ctx, "git", "log", "-1", "--format=%ct %h", "--abbrev=12")
	if err != nil {
		return nil, err
	}
	at, hash, _ := strings.Cut(strings.TrimSpace(string(commit)), " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the time of the commit: %w", err)
	}
	r.time = time.Unix(seconds, 0).UTC()
	if r.version == "" {
		tag, err := r.output(ctx, "git", "tag", "--points-at", "HEAD", "--list", "v*")
		if err != nil {
			return nil, err
		}
		r.version = strings.TrimPrefix(strings.Join(strings.Fields(string(tag)), ""), "v")
	}
	if r.version == "" {
		r.version = "0.0.0-" + r.time.Format("20060102150405") + "." + hash
	}
	return r, nil
}

// output returns what a program prints, which runs in the repository.
func (r *release) output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = r.root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, &stderr)
	}
	return out, nil
}

// build builds the static binary for an architecture.
func (r *release) build(ctx context.Context, arch, file string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s", "-o", file, command)
	cmd.Dir = r.root
	// A workspace and flags of the caller would change the result.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// write builds all files of an architecture in the folder out, and returns their paths. The folder
// work is for files on the way to them.
func (r *release) write(ctx context.Context, arch, work, out string) (written []string, err error) {
	if err := os.MkdirAll(work, 0o755); err != nil {
		return nil, err
	}
	binary := filepath.Join(work, "ttydrain")
	if err := r.build(ctx, arch, binary); err != nil {
		return nil, err
	}
	// Completions are printed by a binary that this machine can run.
	program := binary
	if arch != runtime.GOARCH {
		program = filepath.Join(work, "ttydrain-here")
		if err := r.build(ctx, runtime.GOARCH, program); err != nil {
			return nil, err
		}
	}
	return r.pack(ctx, arch, binary, program, work, out)
}

// pack writes a binary, its bill of materials and its packages, and returns their paths. program is
// the same for this machine.
func (r *release) pack(ctx context.Context, arch, binary, program, work, out string) (written []string, err error) {
	base := filepath.Join(out, "ttydrain_"+r.version+"_linux_"+arch)
	if err := copyFile(base, binary); err != nil {
		return nil, err
	}
	bill, err := r.billOfMaterials(ctx, binary)
	if err != nil {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	if err := os.WriteFile(base+".cdx.json", bill, 0o644); err != nil {
		return nil, err
	}
	written = []string{base, base + ".cdx.json"}
	for _, format := range []string{"deb", "rpm"} {
		file := base + "." + format
		tree := &tree{release: r, format: format, work: filepath.Join(work, format)}
		err := tree.add(ctx, binary, program, bill)
		if err == nil {
			err = tree.write(file, arch)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", format, err)
		}
		written = append(written, file)
	}
	return written, nil
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, data, 0o755), os.Chmod(to, 0o755))
}

// writeSums writes SHA256SUMS of the files, for sha256sum --check, and returns its path.
func writeSums(out string, files []string) (string, error) {
	var sums bytes.Buffer
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&sums, "%x  %s\n", h.Sum(nil), filepath.Base(file))
	}
	path := filepath.Join(out, "SHA256SUMS")
	return path, os.WriteFile(path, sums.Bytes(), 0o644)
}
