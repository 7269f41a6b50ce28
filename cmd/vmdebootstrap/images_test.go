// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/imagefile"
)

// imageBuilds stands for the runs of the program that build images.
type imageBuilds struct {
	t      *testing.T
	env    environment
	stdout bytes.Buffer
	stderr bytes.Buffer

	mu    sync.Mutex
	calls map[string]call
	// does is what a run does, by the name of its image: it returns the exit status.
	does func(name string, r reentry) int
}

func newImageBuilds(t *testing.T, file string) *imageBuilds {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "images.yaml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &imageBuilds{t: t, calls: map[string]call{}, does: func(string, reentry) int { return exitOK }}
	b.env = environment{dir: dir, etc: dir, arch: "amd64", now: time.Now, stat: os.Stat, readFile: os.ReadFile}
	b.env.reenter = func(_ context.Context, r reentry) (int, error) {
		b.mu.Lock()
		b.calls[r.call.image] = *r.call
		b.mu.Unlock()
		return b.does(r.call.image, r), nil
	}
	return b
}

// run builds the images of the file.
func (b *imageBuilds) run(ctx context.Context, args ...string) (status int) {
	b.t.Helper()
	b.stdout.Reset()
	b.stderr.Reset()
	return run(ctx, append([]string{"build", "--no-default-configs", "images.yaml"}, args...), &b.stdout, &b.stderr, b.env)
}

// send writes an event of a run.
func send(r reentry, e progress.Event) {
	text, _ := json.Marshal(e)
	fmt.Fprintf(r.stderr, "%s\n", text)
}

const threeImages = `
no-kernel: yes
root-password: env:PASSWORD
images:
  a: {tarball: a.tar, run: [one, two], user: [joe/secret], sudo: yes}
  b: {tarball: b.tar, customize: []}
  c: {tarball: c.tar}
`

func TestOneImageFailsAndTheOthersAreBuilt(t *testing.T) {
	t.Parallel()
	b := newImageBuilds(t, threeImages)
	b.env.environ = []string{"PASSWORD=geheim"}
	b.does = func(name string, r reentry) int {
		fmt.Fprintf(r.stdout, "first of %s\nsecond", name)
		send(r, progress.Event{Kind: progress.Begin, Step: 1, Title: "work"})
		send(r, progress.Event{Kind: progress.Warning, Text: "slow"})
		if name == "b" {
			send(r, progress.Event{Kind: progress.Summary, Result: &progress.Result{Error: "no\nroom"}})
			fmt.Fprintln(r.stderr, "ERROR: no room")
			return exitStep
		}
		send(r, progress.Event{Kind: progress.Summary, Result: &progress.Result{
			Seconds: 3, Files: []progress.File{{Name: name + ".tar", Size: 2e6}},
			Usage: progress.Usage{Steps: 2, Cached: 5}}})
		return exitOK
	}
	if status := b.run(t.Context(), "--progress=plain"); status != exitFailed {
		t.Errorf("got status %d", status)
	}
	for _, name := range []string{"a", "b", "c"} {
		for _, want := range []string{name + ": first of " + name + "\n", name + ": second\n"} {
			if !strings.Contains(b.stdout.String(), want) {
				t.Errorf("no %q in\n%s", want, b.stdout.String())
			}
		}
		for _, want := range []string{name + ": WARNING: slow\n", name + ": [1] work\n"} {
			if !strings.Contains(b.stderr.String(), want) {
				t.Errorf("no %q in\n%s", want, b.stderr.String())
			}
		}
	}
	if !strings.Contains(b.stderr.String(), "b: ERROR: no room\n") {
		t.Errorf("got\n%s", b.stderr.String())
	}
	table := regexp.MustCompile(`(?s)\nIMAGE +RESULT +TIME +STEPS +FROM CACHE +OUTPUT\n` +
		`a +built +3s +7 +5 +a\.tar \(2\.0 MB\)\n` +
		`b +failed +0s +0 +0 +no\?room\n` +
		`c +built +3s +7 +5 +c\.tar \(2\.0 MB\)\n` +
		`2 of 3 images built in \d+s\n$`)
	if !table.MatchString(b.stdout.String()) {
		t.Errorf("got\n%s", b.stdout.String())
	}
	// The runs get the settings and the files of all images, and passwords only in their message.
	a := b.calls["a"]
	want := []string{"--no-default-configs", "--no-kernel", "--root-password=geheim", "--tarball=a.tar", "--run=one",
		"--run=two", "--user=joe/secret", "--sudo", "--progress=plain", "--output=", "--no-debug-shell", "--progress=json"}
	if !slices.Equal(a.args, want) {
		t.Errorf("got %q, want %q", a.args, want)
	}
	for _, name := range []string{"a.tar", "b.tar", "c.tar"} {
		if !slices.Contains(a.written, filepath.Join(b.env.dir, name)) {
			t.Errorf("%s is not among %q", name, a.written)
		}
	}
	if all := b.stdout.String() + b.stderr.String(); strings.Contains(all, "geheim") {
		t.Errorf("the password is shown:\n%s", all)
	}
}

func TestEventsOfImagesHaveTheirNames(t *testing.T) {
	t.Parallel()
	b := newImageBuilds(t, threeImages)
	b.env.environ = []string{"PASSWORD=x"}
	b.does = func(_ string, r reentry) int {
		send(r, progress.Event{Kind: progress.Begin, Step: 1, Title: "work"})
		return exitOK
	}
	if status := b.run(t.Context(), "--progress=json", "--jobs=1", "--only=a,c"); status != exitOK {
		t.Errorf("got status %d", status)
	}
	var names []string
	for line := range strings.Lines(b.stderr.String()) {
		var e progress.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		names = append(names, e.Image)
	}
	if !slices.Equal(names, []string{"a", "c"}) {
		t.Errorf("got %q", names)
	}
}

func TestAnInterruptBeginsNoOtherImage(t *testing.T) {
	t.Parallel()
	b := newImageBuilds(t, threeImages)
	b.env.environ = []string{"PASSWORD=x"}
	ctx, cancel := context.WithCancel(t.Context())
	b.does = func(string, reentry) int {
		cancel()
		return exitInterrupted
	}
	if status := b.run(ctx, "--jobs=1"); status != exitInterrupted {
		t.Errorf("got status %d", status)
	}
	if len(b.calls) != 1 || strings.Count(b.stdout.String(), "not built") != 2 ||
		!strings.Contains(b.stdout.String(), "a      interrupted") {
		t.Errorf("%d images were begun:\n%s", len(b.calls), b.stdout.String())
	}
}

// TestIndependentImagesAreBuiltTogether: an image that would wait for steps of another one is built later.
func TestIndependentImagesAreBuiltTogether(t *testing.T) {
	t.Parallel()
	b := newImageBuilds(t, `
no-kernel: yes
lock-root-password: yes
images:
  a: {tarball: a.tar, distribution: trixie}
  b: {tarball: b.tar, distribution: trixie}
  c: {tarball: c.tar, distribution: bookworm}
`)
	begun := make(chan string, 3)
	together := make(chan bool)
	b.does = func(name string, _ reentry) int {
		begun <- name
		if name != "b" {
			<-together
		}
		return exitOK
	}
	go func() {
		first := []string{<-begun, <-begun}
		slices.Sort(first)
		if !slices.Equal(first, []string{"a", "c"}) {
			t.Errorf("got %q", first)
		}
		close(together)
	}()
	if status := b.run(t.Context(), "--jobs=2"); status != exitOK || len(b.calls) != 3 {
		t.Errorf("got status %d and %d calls", status, len(b.calls))
	}
}

// filePlaceholder matches what help calls the values that name files.
var filePlaceholder = regexp.MustCompile(`FILE|DIR|DEB|SCRIPT|PATH|SRC|src=`)

func TestSettingsThatNameFilesAreRelativeToTheImageFile(t *testing.T) {
	t.Parallel()
	inTheImage := []string{"boot-mount"}
	for _, s := range newSettings("amd64").all {
		name, _ := pflag.UnquoteUsage(&pflag.Flag{Usage: s.usage, Value: s.value})
		if filePlaceholder.MatchString(name) && filesInValues[s.name] == nil &&
			!slices.Contains(slices.Concat(forTheCall, inTheImage), s.name) {
			t.Errorf("--%s names a file", s.name)
		}
	}
	c := newCommand(environment{dir: "/work", stat: os.Stat}, nil, nil, pflag.NewFlagSet("", pflag.ContinueOnError))
	for _, test := range []struct{ name, text, want string }{
		{"image", "x.img", "d/x.img"},
		{"image", "/x.img", "/x.img"},
		{"image", "../x.img", "x.img"},
		{"hostname", "x", "x"},
		{"log", "syslog", "syslog"},
		{"log", "log", "d/log"},
		{"luks-passphrase", "env:PASS", "env:PASS"},
		{"luks-key-file", "key", "d/key"},
		{"raw", "boot.bin@8KiB", "d/boot.bin@8KiB"},
		{"raw", "rootfs:/usr/lib/x@8KiB", "rootfs:/usr/lib/x@8KiB"},
		{"dtb", "file:b.dtb", "file:d/b.dtb"},
		{"dtb", "a/b.dtb", "a/b.dtb"},
		{"copy-in", "a:b:/c/", "d/a:b:/c/"},
		{"copy-in", "dir/:/c", "d/dir/:/c"},
		{"hook", "image:x.sh", "image:d/x.sh"},
		{"authorized-keys", "ann_2:x.pub", "ann_2:d/x.pub"},
		{"sbom", "spdx:x.json", "spdx:d/x.json"},
		{"secret", "id=a,src=b", "id=a,src=d/b"},
		{"secret", "type=file,source=b,id=a", "type=file,source=d/b,id=a"},
		{"secret", "id=a,env=B", "id=a,env=B"},
		{"debootstrapopts", "variant=minbase keyring=k.gpg include=x", "variant=minbase keyring=d/k.gpg include=x"},
		{"repository", "[signed-by=k.asc] http://x y z", "[signed-by=d/k.asc] http://x y z"},
		{"repository", "Types: deb\nSigned-By: k.asc\nURIs: http://x\n", "Types: deb\nSigned-By: d/k.asc\nURIs: http://x\n"},
		{"repository", "http://x y z", "http://x y z"},
		{"export", "oci:layout:tag", "oci:d/layout:tag"},
		{"export", "docker://r.example/x", "docker://r.example/x"},
		{"cache-to", "oci:cache", "oci:d/cache"},
	} {
		if got := c.relativeTo("d", test.name, test.text); got != test.want {
			t.Errorf("%s: %q: got %q, want %q", test.name, test.text, got, test.want)
		}
		if got := c.relativeTo(".", test.name, test.text); got != test.text {
			t.Errorf("%s: %q here: got %q", test.name, test.text, got)
		}
	}
}

// imageFileSchema returns the schema that the program prints.
func imageFileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(imagefile.Schema(imageFileKeys("amd64")))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaAcceptsTheSettingsOfADump(t *testing.T) {
	t.Parallel()
	s := imageFileSchema(t)
	values := map[string]any{}
	for _, setting := range newSettings("amd64").all {
		if slices.Contains(forTheCall, setting.name) {
			continue
		}
		texts := setting.value.dump()
		switch setting.value.(type) {
		case boolValue:
			values[setting.name] = texts[0] == "True"
		case countValue:
			var n any
			if err := yaml.Unmarshal([]byte(texts[0]), &n); err != nil {
				t.Fatal(err)
			}
			values[setting.name] = n
		case list:
			values[setting.name] = []any{}
			for _, text := range texts {
				values[setting.name] = append(values[setting.name].([]any), text)
			}
		default:
			values[setting.name] = texts[0]
		}
	}
	if err := s.Validate(values); err != nil {
		t.Error(err)
	}
	for _, wrong := range []map[string]any{{"sudo": "perhaps"}, {"log-level": "loud"}, {"progress": "plain"},
		{"isolation": "none"}, {"image": []any{"a"}}} {
		if s.Validate(wrong) == nil {
			t.Errorf("%v is accepted", wrong)
		}
	}
}

func TestExampleOfAnImageFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(examplesDir, "images.yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	if err := imageFileSchema(t).Validate(value); err != nil {
		t.Error(err)
	}
	out, err := vmdebootstrap(t, "build", "--no-default-configs", "--dry-run", "--profile", "debug", name).CombinedOutput()
	if err != nil || strings.Count(string(out), "\nPlan:\n") != 10 {
		t.Errorf("%v\n%s", err, out)
	}
}
