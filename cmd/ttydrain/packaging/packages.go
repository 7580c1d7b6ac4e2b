package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

const description = `Records what users see in SSH sessions, and delivers it to log drains
ttydrain is an SSH server for ephemeral sessions. It records output before
users see it, and delivers it with the user's identity, in order and
provably complete, to HTTPS, Elasticsearch, syslog and file drains.`

// A tree is what a package installs.
type tree struct {
	*release
	format  string // deb or rpm
	work    string // for generated files
	content files.Contents
}

// add adds all that the packages install.
func (t *tree) add(ctx context.Context, binary, program string, bill []byte) error {
	own := func(name string) string { return filepath.Join(t.root, "cmd/ttydrain/packaging/files", name) }
	const doc, units = "/usr/share/doc/ttydrain/", "/usr/lib/systemd/system/"
	for _, f := range []struct{ to, from string }{
		{units + "ttydrain.service", own("ttydrain.service")},
		{units + "ttydrain@.service", own("ttydrain@.service")},
		{units + "ttydrain@gateway.service.d/sandbox.conf", own("gateway-sandbox.conf")},
		{"/usr/lib/sysusers.d/ttydrain.conf", own("sysusers.conf")},
		{"/usr/lib/tmpfiles.d/ttydrain.conf", own("tmpfiles.conf")},
		{doc + "examples/sandbox-root.conf", own("sandbox-root.conf")},
		{doc + "examples/ttydrain.yaml", own("ttydrain.yaml")},
		{doc + "copyright", filepath.Join(t.root, "cmd/ttydrain/NOTICE")},
		{doc + "LICENSE", filepath.Join(t.root, "LICENSE")},
		{doc + "README.md", filepath.Join(t.root, "README.md")},
	} {
		t.file(f.to, f.from, 0o644)
	}
	t.file("/usr/bin/ttydrain", binary, 0o755)
	// Its folder and the file are for the service only: the file can hold secrets.
	t.content = append(t.content,
		&files.Content{Type: files.TypeDir, Destination: "/etc/ttydrain", FileInfo: t.info(0o700, "ttydrain")},
		&files.Content{Type: files.TypeConfigNoReplace, Source: own("ttydrain.yaml"), Destination: "/etc/ttydrain/ttydrain.yaml",
			FileInfo: t.info(0o600, "ttydrain")})
	pages, err := filepath.Glob(filepath.Join(t.root, "cmd/ttydrain/docs/*.md"))
	if err != nil || len(pages) == 0 {
		return fmt.Errorf("found no pages of the documentation: %v", err)
	}
	for _, page := range pages {
		t.file(doc+"docs/"+filepath.Base(page), page, 0o644)
	}
	if err := t.generated(doc+"ttydrain.cdx.json", bill); err != nil {
		return err
	}
	zsh := map[string]string{"deb": "/usr/share/zsh/vendor-completions/_ttydrain", "rpm": "/usr/share/zsh/site-functions/_ttydrain"}
	for _, c := range []struct{ shell, to string }{
		{"bash", "/usr/share/bash-completion/completions/ttydrain"},
		{"zsh", zsh[t.format]},
		{"fish", "/usr/share/fish/vendor_completions.d/ttydrain.fish"},
	} {
		script, err := t.output(ctx, program, "completion", c.shell)
		if err != nil {
			return err
		}
		if err := t.generated(c.to, script); err != nil {
			return err
		}
	}
	return t.manuals()
}

// manuals adds the manual pages.
func (t *tree) manuals() error {
	read := func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(t.root, "cmd/ttydrain/docs", name))
	}
	commands, err := read("cli-reference.md")
	if err != nil {
		return err
	}
	configuration, err := read("configuration-reference.md")
	if err != nil {
		return err
	}
	pages, err := commandManuals(commands, t.time)
	if err != nil {
		return err
	}
	pages["ttydrain.yaml.5"] = configurationManual(configuration, t.time)
	for name, page := range pages {
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := w.Write(page); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if err := t.generated("/usr/share/man/man"+name[len(name)-1:]+"/"+name+".gz", packed.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// generated adds a file with this content.
func (t *tree) generated(to string, data []byte) error {
	from := filepath.Join(t.work, "generated", strings.ReplaceAll(to, "/", "_"))
	if err := os.MkdirAll(filepath.Dir(from), 0o755); err != nil {
		return err
	}
	t.file(to, from, 0o644)
	return os.WriteFile(from, data, 0o644)
}

func (t *tree) file(to, from string, mode fs.FileMode) {
	t.content = append(t.content, &files.Content{Source: from, Destination: to, FileInfo: t.info(mode, "root")})
}

func (t *tree) info(mode fs.FileMode, owner string) *files.ContentFileInfo {
	return &files.ContentFileInfo{Mode: mode, MTime: t.time, Owner: owner, Group: owner}
}

// write writes a package.
func (t *tree) write(file, arch string) error {
	format := t.format
	script := func(name string) (string, error) {
		var text bytes.Buffer
		text.WriteString("#!/bin/sh\n")
		for _, part := range []string{"functions.sh", format + "-" + name + ".sh"} {
			data, err := os.ReadFile(filepath.Join(t.root, "cmd/ttydrain/packaging/files/scripts", part))
			if err != nil {
				return "", err
			}
			text.Write(data)
		}
		to := filepath.Join(t.work, path.Base(format+"-"+name))
		return to, os.WriteFile(to, text.Bytes(), 0o755)
	}
	// A hyphen would begin the release, and a version after ~ is before the one without it.
	version := strings.ReplaceAll(t.version, "-", "~")
	info := &nfpm.Info{
		Name: "ttydrain", Version: version, Arch: arch, Platform: "linux", Release: "1",
		Maintainer: "ttydrain maintainers <maintainers@ttydrain.invalid>", Vendor: "ttydrain",
		Homepage: "https://github.com/ttydrain/ttydrain", License: "Apache-2.0", Description: description,
		Section: "admin", Priority: "optional", MTime: t.time,
		Overridables: nfpm.Overridables{Contents: t.content, Umask: 0o022, Recommends: []string{"ca-certificates"}},
	}
	names := map[string]*string{"pre": &info.Scripts.PreInstall, "post": &info.Scripts.PostInstall,
		"preun": &info.Scripts.PreRemove, "postun": &info.Scripts.PostRemove}
	var packager nfpm.Packager = rpm.DefaultRPM
	if format == "deb" {
		packager = deb.Default
		names = map[string]*string{"postinst": &info.Scripts.PostInstall, "prerm": &info.Scripts.PreRemove, "postrm": &info.Scripts.PostRemove}
		info.Depends = []string{"passwd"}
		info.Deb.Compression = "gzip" // which every dpkg unpacks
	} else {
		info.Depends = []string{"shadow-utils"}
		info.RPM.Compression = "zstd"
		info.RPM.BuildHost = "localhost"
		info.RPM.Group = "System Environment/Daemons"
	}
	for name, at := range names {
		path, err := script(name)
		if err != nil {
			return err
		}
		*at = path
	}
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := packager.Package(info, f); err != nil {
		return err
	}
	return f.Close()
}
