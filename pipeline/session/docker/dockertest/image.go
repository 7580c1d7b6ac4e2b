package dockertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// Image is the image that is on every [Daemon]: a bash and the usual small programs of this host, with the users root and
// app (1000:1000, whose home is /srv/app). It has an entry point that no session may run: it says "entrypoint" and
// ends with 99.
const Image = "ttydrain-test:1"

// programs are what is in the image, where this host has it.
var programs = []string{
	"bash", "sh", "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mount", "mv",
	"nohup", "od", "ps", "readlink", "rm", "sed", "seq", "setsid", "sha256sum", "sleep", "sort", "stat", "stty", "tail", "tee", "test", "touch", "tr", "true", "tty", "umount",
	"uname", "uniq", "wc", "yes",
}

// importImage makes the image of this host's own files: none can be pulled from a registry where there is no network.
func (d *Daemon) importImage(t testing.TB) {
	t.Helper()
	if _, err := d.Client.ImageInspect(t.Context(), Image); err == nil {
		return
	}
	var archive bytes.Buffer
	w := &tarWriter{Writer: tar.NewWriter(&archive), seen: make(map[string]bool)}
	for _, folder := range []string{"bin", "dev", "etc", "proc", "root", "srv", "srv/app", "sys", "usr", "usr/bin"} {
		w.folder(t, folder, 0o755, 0)
	}
	w.folder(t, "tmp", 0o1777, 0)
	w.folder(t, "srv/app/data", 0o755, 1000)
	w.file(t, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000:App:/srv/app:/bin/bash\n"))
	w.file(t, "etc/group", 0o644, []byte("root:x:0:\napp:x:1000:\n"))
	w.file(t, "entrypoint", 0o755, []byte("#!/bin/bash\necho entrypoint\nexit 99\n"))
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			absent(t, "the image for tests: "+name+" is not installed")
		}
		w.program(t, "bin/"+name, path)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := d.Client.ImageImport(t.Context(), client.ImageImportSource{Source: &archive, SourceName: "-"}, Image, client.ImageImportOptions{
		Changes: []string{`ENTRYPOINT ["/entrypoint"]`, `CMD ["no-such-command"]`, "ENV FROM_IMAGE=image", "LABEL image=test", "VOLUME /srv/app/data"}})
	if err != nil {
		t.Fatalf("import an image: %v", err)
	}
	defer answer.Close()
	if said, err := io.ReadAll(answer); err != nil || bytes.Contains(said, []byte(`"error"`)) {
		t.Fatalf("import an image: %v %s", err, said)
	}
}

// tarWriter writes an image's files, each once.
type tarWriter struct {
	*tar.Writer
	seen map[string]bool
}

func (w *tarWriter) folder(t testing.TB, name string, mode int64, owner int) {
	t.Helper()
	w.entry(t, &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (w *tarWriter) file(t testing.TB, name string, mode int64, data []byte) {
	t.Helper()
	w.entry(t, &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, data)
}

func (w *tarWriter) entry(t testing.TB, h *tar.Header, data []byte) {
	t.Helper()
	if w.seen[h.Name] {
		return
	}
	w.seen[h.Name] = true
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

// libraries finds the paths in what ldd(1) prints.
var libraries = regexp.MustCompile(`(?m)(?:=> |^\s+)(/\S+) \(`)

// program writes a program of this host with the libraries that it is linked to.
func (w *tarWriter) program(t testing.TB, name, path string) {
	t.Helper()
	w.copy(t, name, path)
	said, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil && !bytes.Contains(said, []byte("not a dynamic executable")) {
		t.Fatalf("ldd %s: %v %s", path, err, said)
	}
	for _, m := range libraries.FindAllSubmatch(said, -1) {
		w.copy(t, strings.TrimPrefix(string(m[1]), "/"), string(m[1]))
	}
}

func (w *tarWriter) copy(t testing.TB, name, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the image for tests: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if folder := filepath.Dir(name); folder != "." {
		parts := strings.Split(folder, "/")
		for i := range parts {
			w.folder(t, strings.Join(parts[:i+1], "/"), 0o755, 0)
		}
	}
	w.file(t, name, 0o755, data)
}
