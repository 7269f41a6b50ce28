// SPDX-License-Identifier: Apache-2.0

package display

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

func TestRemainingTimeIsThatOfTheLastBuild(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "records", "durations.json")
	now := time.Now()
	clock := func() time.Time { return now }
	build := func() (*Display, *progress.Reporter) {
		d := Open(Options{Mode: None, Stderr: io.Discard, Now: clock})
		if err := d.Remember(file); err != nil {
			t.Fatal(err)
		}
		r := progress.New(d.Report, clock, nil)
		r.Begin("read")
		r.Plan([]string{"install", "write"})
		return d, r
	}
	d, r := build()
	if got := d.lines(60)[0]; strings.Contains(got, "left") {
		t.Errorf("the first build knows the end: %q", got)
	}
	now = now.Add(time.Second)
	r.Begin("install")
	now = now.Add(90 * time.Second)
	r.Begin("write")
	now = now.Add(10 * time.Second)
	r.Finish(progress.Result{})
	if err := d.Save(t.Context()); err != nil {
		t.Fatal(err)
	}

	d, r = build()
	if got := d.lines(60)[0]; !strings.HasSuffix(got, " 0s, about 1m41s left") {
		t.Errorf("got %q", got)
	}
	r.Cached("install") // is no measurement
	r.Begin("write")
	now = now.Add(3 * time.Second)
	if got := d.lines(60)[0]; !strings.HasSuffix(got, " 3s, about 7s left") {
		t.Errorf("got %q", got)
	}
	r.Finish(progress.Result{})
	if err := d.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, _ = build()
	if got := d.lines(60)[0]; !strings.HasSuffix(got, " 0s, about 1m33s left") {
		t.Errorf("got %q", got)
	}

	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d = Open(Options{Mode: None, Stderr: io.Discard, Now: clock})
	if err := d.Remember(file); err == nil || !strings.Contains(err.Error(), "earlier builds") {
		t.Errorf("a damaged file: got %v", err)
	}
}
