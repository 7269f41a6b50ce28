// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// remember prepares an estimate of the remaining time by the earlier builds with a state directory.
func (j *job) remember(stateDir string) {
	if err := j.display.Remember(filepath.Join(stateDir, "records", "durations.json")); err != nil {
		j.log.Info("no estimate of the remaining time", "error", err)
	}
}

// finish ends the display with the result of the work, which began at that time and ended with err. made returns the
// result of work that succeeded.
func (j *job) finish(ctx context.Context, began time.Time, made func() progress.Result, err error) {
	if j.outside {
		return
	}
	result := progress.Result{}
	if err == nil {
		result = made()
	} else {
		result.Error = err.Error()
	}
	result.Seconds = j.env.now().Sub(began).Seconds()
	result.Usage = j.report.Usage()
	lines := resultLines(result)
	if err == nil {
		for _, line := range lines {
			j.report.Message(line)
		}
	}
	j.report.Finish(result)
	if saveErr := j.display.Save(context.WithoutCancel(ctx)); saveErr != nil {
		j.log.Info("the next build has no estimate of its time", "error", saveErr)
	}
	j.display.Close()
	if err == nil && j.display.Shown() && !j.verbose {
		fmt.Fprintln(j.err, strings.Join(lines, "\n"))
	}
}

// work is what a verb does that makes no files, with its progress.
type work struct {
	*progress.Reporter
	display *display.Display
	began   time.Time
	now     func() time.Time
}

// beginWork begins to show work of one step, in a mode of display.Modes.
func (e environment) beginWork(mode, title string, stdout, stderr io.Writer) *work {
	shown := display.Open(e.displayOptions(mode, stdout, stderr))
	w := &work{progress.New(shown.Report, e.now, e.cpu), shown, e.now(), e.now}
	w.Plan([]string{title})
	w.Begin(title)
	return w
}

// end ends the display of work that ended with err.
func (w *work) end(err error) {
	result := progress.Result{Seconds: w.now().Sub(w.began).Seconds(), Usage: w.Usage()}
	if err != nil {
		result.Error = err.Error()
	}
	w.Finish(result)
	w.display.Close()
}

// builtFrom returns the result of a build.
func builtFrom(spec builder.Spec) progress.Result {
	r := assembledFrom(spec)
	if o := spec.Options(); o.Image != "" || o.ISO != "" {
		r.Logins = logins(spec.Options())
	}
	return r
}

// assembledFrom returns the outputs of spec, and the commands that start an image.
func assembledFrom(spec builder.Spec) progress.Result {
	r := progress.Result{Files: spec.WrittenFiles()}
	o := spec.Options()
	if o.Image != "" && spec.HasLoader() || o.ISO != "" {
		r.Boot, r.QEMU = bootLine(spec), qemuLine(spec)
	}
	return r
}

// logins returns who can log in to the image of a build; none is no nil slice.
func logins(o builder.Options) []string {
	all := []string{}
	hashed := slices.ContainsFunc(o.PasswordHashes, func(h builder.PasswordHash) bool { return h.User == "root" })
	switch {
	case !o.RootPassword.IsZero(), hashed:
		all = append(all, "root with the password that was given")
	case !o.LockRootPassword:
		all = append(all, "root without a password")
	}
	if len(o.SSHKeyFiles("root")) > 0 {
		all = append(all, "root with an SSH key")
	}
	for _, u := range o.Users {
		name := u.Name
		if len(o.SSHKeyFiles(u.Name)) > 0 {
			name += " with an SSH key or the password"
		}
		all = append(all, name)
	}
	if o.CloudInit {
		all = append(all, "whom cloud-init adds")
	}
	return all
}

// bootLine returns the command of this program that starts the image.
func bootLine(spec builder.Spec) string {
	o := spec.Options()
	words := []string{programName, "boot", spec.Outputs()[0]}
	if o.Arch != spec.HostArch() {
		words = append(words, "--arch", o.Arch)
	}
	if kind := firmware(spec); kind != vm.DefaultFirmware(o.Arch) || kind == vm.UEFI {
		words = append(words, "--firmware", string(kind))
	}
	if o.SerialConsole {
		words = append(words, "--serial")
	}
	return shellLine(words)
}

// qemuLine returns the command of QEMU that starts the image; empty if there is no short one.
func qemuLine(spec builder.Spec) string {
	o := spec.Options()
	m := vm.Machine{Image: o.ISO, CD: o.ISO != "", Arch: o.Arch, Graphics: !o.SerialConsole}
	if m.CD {
		return shellLine(m.Line())
	}
	image := spec.ImageFiles()[0]
	m.Image, m.Format = image.Name, image.Format
	if strings.HasPrefix(image.Format, "vhd") && image.Format != "vhdx" {
		m.Format = "vpc" // QEMU's name of both kinds
	}
	m.Firmware = firmware(spec)
	return shellLine(m.Line())
}

// firmware returns the firmware that starts the image in QEMU. For riscv64 it is always U-Boot, which starts EFI
// programs too: bookworm has no other.
func firmware(spec builder.Spec) vm.Firmware {
	arch := spec.Options().Arch
	switch {
	case spec.UsesUBoot():
		return vm.UBoot
	case spec.NeedsUEFI() && arch != "riscv64":
		return vm.UEFI
	}
	return vm.DefaultFirmware(arch)
}

// plainWord matches a word that a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+-]+$`)

// shellLine returns words as a command line for a shell.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		if quoted[i] = word; !plainWord.MatchString(word) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// resultLines describes the result of work that succeeded to people.
func resultLines(r progress.Result) []string {
	var lines []string
	for _, f := range r.Files {
		line := "wrote " + f.Name
		if f.Size > 0 {
			line += fmt.Sprintf(": %.1f MB, %.1f MB of them on disk", float64(f.Size)/1e6, float64(f.Allocated)/1e6)
		}
		if f.Format != "" {
			line += ", " + f.Format
		}
		lines = append(lines, line)
	}
	switch {
	case len(r.Logins) > 0:
		lines = append(lines, "who can log in: "+strings.Join(r.Logins, ", "))
	case r.Logins != nil:
		lines = append(lines, "who can log in: nobody: root is locked, and --user adds nobody else")
	}
	if r.Boot != "" {
		lines = append(lines, "start it with: "+r.Boot)
	}
	if r.QEMU != "" {
		lines = append(lines, "or with QEMU alone: "+r.QEMU)
	}
	if r.Cached > 0 || r.FromCache > 0 {
		lines = append(lines, fmt.Sprintf("from the cache: %d of %d steps, %.1f of %.1f MB of packages", r.Cached,
			r.Cached+r.Steps, float64(r.FromCache)/1e6, float64(r.FromCache+r.Downloaded)/1e6))
	}
	return append(lines, fmt.Sprintf("done in %s", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second)))
}
