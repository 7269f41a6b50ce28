// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

func TestSummaryNamesOutputsLoginsAndHowToStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := filepath.Join(dir, "x.img")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 3_000_000); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*builder.Options)
		want   []string
	}{
		{"default", func(*builder.Options) {}, []string{
			"who can log in: root without a password", "start it with: vmdebootstrap boot " + image}},
		{"locked, by UEFI", func(o *builder.Options) {
			o.LockRootPassword, o.Grub, o.UseUEFI, o.SerialConsole = true, true, true, true
		}, []string{
			"who can log in: nobody: root is locked, and --user adds nobody else",
			"start it with: vmdebootstrap boot " + image + " --firmware uefi --serial"}},
		{"another machine", func(o *builder.Options) {
			o.LockRootPassword, o.Arch, o.Grub, o.UseUEFI = true, "arm64", true, true
		}, []string{
			"who can log in: nobody: root is locked, and --user adds nobody else",
			"start it with: vmdebootstrap boot " + image + " --arch arm64 --firmware uefi"}},
		{"no boot loader", func(o *builder.Options) { o.Boot = "none" },
			[]string{"who can log in: root without a password"}},
		{"none by an older option", func(o *builder.Options) { o.Extlinux = false },
			[]string{"who can log in: root without a password"}},
	} {
		o := builder.DefaultOptions()
		o.Image, o.Size, o.Arch = image, 2_000_000_000, "amd64"
		tt.change(&o)
		spec, err := builder.NewSpec(o, builder.World{Stat: os.Stat, Dir: dir, HostArch: "amd64",
			Today: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			t.Fatal(err)
		}
		want := append([]string{"wrote " + image + ": 3.0 MB, 0.0 MB of them on disk"}, tt.want...)
		if got := summary(spec); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
	}
}
