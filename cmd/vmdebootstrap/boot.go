// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// bootCall is a call of "vmdebootstrap boot".
type bootCall struct {
	env        environment
	out, err   io.Writer
	machine    vm.Machine
	image      string // as the user knows it; the machine may have an overlay of it
	firmware   string
	accel      string
	memory     diskimage.Size
	network    bool
	test, json bool
	ssh        bool
	expect     string
	login, run string
	checksFile string
	checks     *bootChecks // of checksFile; nil for none
	junit      string
	// user and password are the parts of login.
	user, password string
	timeout        time.Duration
	verbose        bool
	// progress is one of display.Modes.
	progress    string
	secretsFrom secretSource
}

// bootResult is the result of a test.
type bootResult struct {
	Image    string  `json:"image"`
	Arch     string  `json:"arch"`
	Firmware string  `json:"firmware"`
	Booted   bool    `json:"booted"`
	Seconds  float64 `json:"seconds"`
	Error    string  `json:"error,omitempty"`
	// Reason is the vm.Reason if the image did not boot.
	Reason  string        `json:"reason,omitempty"`
	Output  string        `json:"output,omitempty"` // of --run
	Status  *int          `json:"status,omitempty"`
	Checks  []checkResult `json:"checks,omitempty"`
	Console string        `json:"console,omitempty"` // the last lines, if the image did not boot
}

// newBootVerb returns the command "vmdebootstrap boot", which starts an image in QEMU, to use or to test it.
func newBootVerb(env environment, stdout, stderr io.Writer) *cobra.Command {
	b := bootCall{env: env, out: stdout, err: stderr, secretsFrom: env.secretSource(), memory: diskimage.GiB,
		progress: display.Auto}
	verb := &cobra.Command{
		Use:   "boot IMAGE [options] [-- QEMU ARGUMENT...]",
		Short: "start an image in QEMU, to use or to test it",
		Long: "Start an image in QEMU. Without --test the machine's screen is a window, or with --serial, and where\n" +
			"there is no display, this terminal (Ctrl-A X quits), and its writes change the image. With --test the\n" +
			"image stays unchanged, and the exit status says whether a login prompt, or what --expect matches,\n" +
			"appeared on the serial console, and whether --run succeeded. An image without a serial console gets\n" +
			"one for this run, in a snapshot that is discarded.",
		Example: `
# Start an image without changing it, with its serial console in this terminal
vmdebootstrap boot --snapshot --serial debian.img
# Report whether an image boots with Secure Boot, and run a command in it
vmdebootstrap boot --test --firmware secureboot --login root \
--run "systemctl is-system-running" debian.img`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("IMAGE is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			b.machine.Image, b.machine.Args = args[0], args[1:]
			return b.boot(cmd.Context())
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	var serial bool
	flags.StringVar(&b.firmware, "firmware", "",
		"`FIRMWARE` of the machine: bios, uefi or secureboot (default: uefi for arm64, else bios)")
	flags.StringVar(&b.machine.Arch, "arch", env.arch, "`ARCHITECTURE` of the image")
	flags.Var(flagSize{&b.memory}, "memory", "give the machine `SIZE` bytes of memory")
	flags.StringVar(&b.machine.Format, "format", "", "`FORMAT` of the image as QEMU calls it (default: detected)")
	flags.StringVar(&b.accel, "accel", "",
		"QEMU's `ACCELERATOR`: kvm or tcg (default: kvm if available, else tcg; --test falls back to tcg if no kernel starts under kvm)")
	flags.BoolVar(&serial, "serial", false,
		"use the serial console in this terminal instead of a window (default without a display)")
	flags.BoolVar(&b.machine.Snapshot, "snapshot", false, "discard what the machine writes")
	flags.BoolVar(&b.network, "network", true, "give the machine network access through QEMU")
	flags.BoolVar(&b.test, "test", false, "check whether the image boots, then stop it")
	flags.StringVar(&b.expect, "expect", "login: ", "with --test: `REGEX` that must match on the serial console")
	flags.StringVar(&b.login, "login", "",
		"with --test: log in as `USER[:PASSWORD]`; PASSWORD can be file:NAME or env:NAME")
	flags.StringVar(&b.run, "run", "", "with --login or --ssh: run the shell `COMMAND`, which must exit with status 0")
	flags.StringVar(&b.checksFile, "checks", "",
		"with --login: check what `FILE` (YAML) says of the system: its lists commands "+
			"(run, status, output), units, files, packages and ports, and login-within")
	flags.StringVar(&b.junit, "junit", "", "with --test: write the results to `FILE` in the form of JUnit")
	flags.BoolVar(&b.ssh, "ssh", false,
		"log in by ssh as root, with a key made for this run; needs an sshd and systemd 252 in the image, which "+
			"stays unchanged")
	flags.DurationVar(&b.timeout, "timeout", 10*time.Minute, "with --test or --ssh: give up after this `TIME`")
	flags.BoolVar(&b.json, "json", false, "with --test: print the result as JSON")
	flags.BoolVar(&b.verbose, "verbose", false, "show QEMU's command, and with --test the serial console")
	flags.Var(choiceValue{&b.progress, display.Modes}, "progress",
		"with --test or --ssh: "+newSettings(env.arch).lookup("progress").usage)
	registerValues(verb, "format", cobra.FixedCompletions([]string{"raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi"},
		cobra.ShellCompDirectiveNoFileComp))
	verb.PreRunE = func(*cobra.Command, []string) error {
		b.machine.Graphics = !serial && !b.test && !b.ssh && env.hasDisplay()
		return b.check()
	}
	return verb
}

// check validates the options before anything starts.
func (b *bootCall) check() error {
	switch vm.Firmware(b.firmware) {
	case "", vm.BIOS, vm.UEFI, vm.SecureBoot:
	default:
		return usageErrorf("--firmware: unknown firmware %q; want bios, uefi or secureboot", b.firmware)
	}
	if _, err := regexp.Compile(b.expect); err != nil {
		return usageErrorf("--expect: %v", err)
	}
	if b.run != "" && b.login == "" && !b.ssh {
		return usageErrorf("--run needs --login or --ssh")
	}
	if b.ssh && (b.test || !b.network) {
		return usageErrorf("--ssh excludes --test and needs the network")
	}
	user, password, _ := strings.Cut(b.login, ":")
	password, err := b.secretsFrom.read(password)
	if err != nil {
		return fmt.Errorf("--login: %w", err)
	}
	b.user, b.password = user, password
	if !b.test && (b.login != "" || b.json || b.junit != "") {
		return usageErrorf("--login, --json and --junit need --test")
	}
	if b.checksFile != "" {
		if b.login == "" {
			return usageErrorf("--checks needs --login")
		}
		if b.checks, err = readChecks(absolute(b.env.dir, b.checksFile)); err != nil {
			return fmt.Errorf("--checks: %w", err)
		}
	}
	return checkProgress(b.env.displayOptions(b.progress, b.out, b.err))
}

func (b *bootCall) boot(ctx context.Context) error {
	m := &b.machine
	m.Image = absolute(b.env.dir, m.Image)
	b.image = m.Image
	kind, err := imageFormat(m.Image)
	if err != nil {
		return err
	}
	if m.Format == "" {
		m.Format = kind
	}
	m.Firmware, m.Network = vm.Firmware(b.firmware), b.network
	m.Memory = int(b.memory / diskimage.MiB)
	if m.Accel = b.accel; b.accel == "" {
		m.Accel = vm.HostAccel(b.env.arch, m.Arch)
	}
	dir, err := os.MkdirTemp("", "vmdebootstrap-boot-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m.Snapshot = m.Snapshot || b.test || b.ssh
	err = b.inspect(ctx, dir)
	if err == nil && b.ssh {
		err = b.prepareSSH(ctx, dir)
	}
	if err == nil && b.verbose {
		err = b.showCommand(dir)
	}
	switch {
	case err != nil:
	case b.test:
		err = b.testBoot(ctx, dir)
	case b.ssh:
		err = b.connect(ctx, dir)
	default:
		err = b.use(ctx, dir)
	}
	return missingProgram("start the machine", err)
}

// missingProgram turns an error about a program of the host that is not installed into one with a cure.
func missingProgram(doing string, err error) error {
	var missing *vm.MissingError
	if !errors.As(err, &missing) {
		return err
	}
	return &oci.HostError{Cause: fmt.Sprintf("%s: %s is missing", doing, missing.What),
		Fix: "apt install " + missing.Package}
}

// userSerial and testSerial are the destinations of the serial line: the user's terminal, together with QEMU's monitor,
// and the test.
const (
	userSerial = "mon:stdio"
	testSerial = "stdio"
)

// showCommand prints the command that starts the machine, for a shell.
func (b *bootCall) showCommand(dir string) error {
	serial := userSerial
	if b.test || b.ssh {
		serial = testSerial
	}
	program, args, err := b.machine.Command(dir, serial)
	if err != nil {
		return err
	}
	words := []string{program}
	for _, arg := range args {
		words = append(words, shellWord(arg))
	}
	fmt.Fprintln(b.err, strings.Join(words, " "))
	return nil
}

// use runs the machine until the user ends it.
func (b *bootCall) use(ctx context.Context, dir string) error {
	program, args, err := b.machine.Command(dir, userSerial)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, b.out, b.err
	return cmd.Run()
}

// testBoot starts the machine and waits for b.expect on its console.
func (b *bootCall) testBoot(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	firmware := b.firmware
	if firmware == "" {
		firmware = string(vm.BIOS)
		if b.machine.Arch == "arm64" {
			firmware = string(vm.UEFI)
		}
	}
	result := bootResult{Image: b.image, Arch: b.machine.Arch, Firmware: firmware}
	w := b.env.beginWork(b.progress, "boot "+b.image, b.out, b.err)
	machine, err := b.start(ctx, dir, w)
	if err != nil {
		w.end(err)
		return err
	}
	defer machine.Stop()
	text, err := machine.Expect(ctx, regexp.MustCompile(b.expect))
	result.Seconds = b.env.now().Sub(w.began).Round(100 * time.Millisecond).Seconds()
	if b.verbose {
		fmt.Fprintln(w.display.Stderr(), text)
	}
	if result.Booted = err == nil; result.Booted && b.login != "" {
		err = b.session(ctx, machine, &result)
	}
	var unseen *vm.NotSeenError
	if errors.As(err, &unseen) {
		result.Console, result.Reason = unseen.Tail, string(unseen.Reason)
	}
	w.end(err)
	err = b.report(result, err)
	if b.junit != "" {
		if err != nil {
			result.Error = err.Error()
		}
		err = errors.Join(err, writeJUnit(context.WithoutCancel(ctx), absolute(b.env.dir, b.junit), result))
	}
	return err
}

// kvmSilence is far longer than a boot loader waits plus what a Debian kernel needs under KVM to print its first line.
const kvmSilence = 30 * time.Second

// start starts the machine, and shows its console's last line while the caller waits for it. Without --accel it falls
// back to software emulation if no kernel starts.
func (b *bootCall) start(ctx context.Context, dir string, w *work) (machine *vm.VM, err error) {
	if b.accel != "" || b.machine.Accel == vm.Software {
		machine, err = vm.Start(ctx, b.machine, dir)
	} else {
		var fellBack bool
		machine, fellBack, err = vm.StartAccelerated(ctx, b.machine, dir, kvmSilence)
		if fellBack {
			fmt.Fprintf(w.display.Stderr(), "no output for %s under KVM: started again without it\n", kvmSilence)
		}
	}
	if err != nil {
		return nil, err
	}
	machine.Progress = func(lastLine string) { w.Say("console", lastLine) }
	return machine, nil
}

// session logs in, and runs the checks and the command.
func (b *bootCall) session(ctx context.Context, machine *vm.VM, result *bootResult) error {
	if err := machine.Login(ctx, b.user, b.password); err != nil {
		return err
	}
	if b.checks != nil {
		if err := b.runChecks(ctx, machine, result); err != nil {
			return err
		}
	}
	if b.run == "" {
		return nil
	}
	output, status, err := machine.Run(ctx, b.run)
	if err != nil {
		return err
	}
	result.Output, result.Status = output, &status
	if status != 0 {
		return fmt.Errorf("--run: exit status %d", status)
	}
	return nil
}

// report prints the result and returns err.
func (b *bootCall) report(result bootResult, err error) error {
	if err != nil {
		result.Error = err.Error()
	}
	if b.json {
		encoder := json.NewEncoder(b.out)
		encoder.SetIndent("", "  ")
		return errors.Join(err, encoder.Encode(result))
	}
	if result.Console != "" {
		fmt.Fprintln(b.err, result.Console)
	}
	if result.Booted {
		fmt.Fprintf(b.out, "%s: booted with %s in %.1f s\n", result.Image, result.Firmware, result.Seconds)
	}
	for _, c := range result.Checks {
		if c.OK {
			fmt.Fprintf(b.out, "ok: %s\n", c.Name)
			continue
		}
		fmt.Fprintf(b.out, "FAILED: %s: %s\n%s", c.Name, c.Error, c.Output)
	}
	fmt.Fprint(b.out, result.Output)
	return err
}

// imageFormat detects the format of an image, and returns QEMU's name of it.
func imageFormat(name string) (string, error) {
	f, err := diskimage.OpenImage(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	switch _, err := io.ReadFull(f, make([]byte, diskimage.SectorSize)); {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "", fmt.Errorf("%s is not a disk image: it is shorter than a sector of a disk", name)
	case err != nil:
		return "", fmt.Errorf("%s: %w", name, err)
	}
	kind, err := format.Detect(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if kind == "vhd" {
		kind = "vpc"
	}
	return kind, nil
}
