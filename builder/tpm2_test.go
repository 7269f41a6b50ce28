// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/luks"
)

// clevis stands for the program: a token of the LUKS container says that it is bound, as does that of clevis.
const clevis = `#!/bin/sh
set -eu
echo "$*" >>"$LOG"
case $2 in
list) [ ! -e "$LOG.bound" ] || echo "1: tpm2 '{}'" ;;
bind) [ ! -e "$LOG.broken" ]; cryptsetup open --test-passphrase --key-file "$7" "$5"; touch "$LOG.bound" ;;
esac
`

// TestEnrolmentContinuesWhereItWasInterrupted runs the program of the step with the real cryptsetup.
func TestEnrolmentContinuesWhereItWasInterrupted(t *testing.T) {
	t.Parallel()
	cryptsetup := diskimagetest.Tool(t, "cryptsetup")
	f := targettest.New(t, nil)
	if err := runStep(t, f, step.EnrolTPM2{LUKS: "1e3d5218-85fa-50df-8a0a-1be5909b8598"}); err != nil {
		t.Fatal(err)
	}
	checkShell(t, f, step.EnrolTPM2Program)
	if got := f.Readable(step.EnrolTPM2Wanted); got != "-> ../enrol-tpm2.service" {
		t.Errorf("%s: %q", step.EnrolTPM2Wanted, got)
	}
	if got := f.Readable(step.EnrolTPM2Unit); !strings.Contains(got, "ConditionPathExists="+step.EnrolTPM2Key+"\n") {
		t.Errorf("%s: %q", step.EnrolTPM2Unit, got)
	}
	program := f.Readable(step.EnrolTPM2Program)

	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file(name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(name string) bool {
		_, err := os.Stat(file(name))
		return err == nil
	}
	d := Disk{EnrolTPM2: true, LUKSKeys: []luksKey{{text: secret.New("geheim")}}}.withEnrolmentKey()
	key := d.LUKSKeys[1].text.Reveal()
	p := diskimage.Partition{Size: luks.HeaderSize + 2*diskimage.MiB, LUKS: uuid.New()}
	plain, err := filesystem.Lookup("ext4").Formatter.Plan(filesystemSize(p),
		diskimage.Filesystem{Type: "ext4", UUID: uuid.New()}, diskimage.EmptyTree(time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	volume, err := d.encrypted(p, plain)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Create(file("disk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(volume.Write(t.Context(), disk), disk.Truncate(int64(p.Size)), disk.Close()); err != nil {
		t.Fatal(err)
	}
	write("clevis", clevis, 0o755)
	replacer := strings.NewReplacer("/dev/disk/by-uuid/1e3d5218-85fa-50df-8a0a-1be5909b8598", file("disk"),
		step.EnrolTPM2Key, file("key"))
	write("program", replacer.Replace(program), 0o755)
	run := func() error {
		cmd := exec.CommandContext(t.Context(), file("program"))
		cmd.Env = []string{"PATH=" + dir + ":" + filepath.Dir(cryptsetup) + ":/usr/bin:/bin", "LOG=" + file("log")}
		output, err := cmd.CombinedOutput()
		t.Logf("%v: %s", err, output)
		return err
	}
	slots := func() int {
		dump := diskimagetest.Run(t, "cryptsetup", "luksDump", file("disk"))
		return len(regexp.MustCompile(`(?m)^  [0-9]+: luks2$`).FindAllString(dump, -1))
	}
	write("key", key, 0o600)

	write("log.broken", "", 0o644)
	if err := run(); err == nil || !exists("key") || slots() != 2 {
		t.Errorf("without a binding: %v, %d key slots", err, slots())
	}
	if err := os.Remove(file("log.broken")); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil || exists("key") || slots() != 1 {
		t.Errorf("got %v, %d key slots", err, slots())
	}
	// The power failed before the file was removed.
	write("key", key, 0o600)
	write("log", "", 0o644)
	if err := run(); err != nil || exists("key") || slots() != 1 {
		t.Errorf("again: got %v, %d key slots", err, slots())
	}
	log, err := os.ReadFile(file("log"))
	if err != nil || strings.Contains(string(log), "bind") {
		t.Errorf("again: clevis %s (%v)", log, err)
	}
}
