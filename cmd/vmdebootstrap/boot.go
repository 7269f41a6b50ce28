// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/iso9660"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// bootCall is a call of "vmdebootstrap boot".
type bootCall struct {
	env        environment
	out, err   io.Writer
	images     []string // as the user named them
	firmwares  []string // of --firmware; none for the usual one
	accel      string
	memory     diskimage.Size
	network    bool
	media      string // one of mediaWords; "" for what the image looks like
	test, json bool
	ssh        bool
	expect     string
	login, run string
	checksFile string
	checks     *bootChecks // of checksFile; nil for none
	junit      string
	page       string // the file of --report
	// screenshots is the directory for pictures of screens; "" for that of junit.
	screenshots string
	jobs        int // 0 for as many as the processors allow
	// user and password are the parts of login.
	user, password string
	// luks is a reference to the passphrase of the disk, and passphrase is what is typed.
	luks, passphrase string
	timeout          time.Duration
	verbose          bool
	// progress is one of display.Modes.
	progress    string
	secretsFrom secretSource

	// machine, image and firmware are those of one boot. The machine may have an overlay of the image.
	machine  vm.Machine
	image    string
	firmware vm.Firmware
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
	// Screenshot is the file with a picture of the screen at the end of a test that failed.
	Screenshot string `json:"screenshot,omitempty"`

	// name is the image as the user named it.
	name  string
	began time.Time
	// started reports whether the machine has started.
	started bool
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
			"appeared on the serial console, and whether --run and --checks succeeded. An image without a serial\n" +
			"console gets one for this run, in a snapshot that is discarded.\n\n" +
			"--test takes several images and several kinds of firmware, and tests each image with each of them.",
		Example: `
# Start an image without changing it, with its serial console in this terminal
vmdebootstrap boot --snapshot --serial debian.img
# Report whether an image boots with Secure Boot, and run a command in it
vmdebootstrap boot --test --firmware secureboot --login root \
--run "systemctl is-system-running" debian.img
# Check what a file says of two images, with two kinds of firmware each
vmdebootstrap boot --test --firmware bios,uefi --login root \
--checks checks.yaml --junit boot.xml a.img b.qcow2`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("IMAGE is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return b.boot(cmd.Context())
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	var serial bool
	flags.Var(choiceValue{&b.media, mediaWords}, "media", "attach the image as `MEDIA`: cd or disk, which a USB stick is "+
		"(default: cd for an ISO image, else disk)")
	flags.StringSliceVar(&b.firmwares, "firmware", nil,
		"`FIRMWARE` of the machine: "+strings.Join(vm.Firmwares(), ", ")+" (default: uefi for arm64, u-boot for armhf and "+
			"riscv64, else bios); with --test, several can be given")
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
			"(run, status, output), units, files, packages and ports, disk-use and login-within")
	flags.StringVar(&b.junit, "junit", "", "with --test: write the results to `FILE` in the form of JUnit")
	flags.StringVar(&b.page, "report", "",
		"with --test: write a page for browsers to `FILE` (HTML), with the console and the checks; "+
			"a page of this image, from its build or another test, gets them added")
	flags.StringVar(&b.screenshots, "screenshots", "",
		"with --test: put pictures of the screens of tests that failed into `DIRECTORY` (default: that of --junit)")
	flags.IntVar(&b.jobs, "jobs", 0,
		"with --test: run at most `NUMBER` machines at once (default: as many as the processors allow)")
	flags.BoolVar(&b.ssh, "ssh", false,
		"log in by ssh as root, with a key made for this run; needs an sshd and systemd 252 in the image, which "+
			"stays unchanged")
	flags.StringVar(&b.luks, "luks-passphrase", "", "with --test or --ssh: type the first line of `FILE`, or "+
		"env:VARIABLE, when the console asks for the passphrase of an encrypted disk")
	flags.DurationVar(&b.timeout, "timeout", 10*time.Minute, "with --test or --ssh: give up after this `TIME`")
	flags.BoolVar(&b.json, "json", false, "with --test: print the result as JSON")
	flags.BoolVar(&b.verbose, "verbose", false, "show QEMU's command, and with --test the serial console")
	flags.Var(choiceValue{&b.progress, display.Modes}, "progress",
		"with --test or --ssh: "+newSettings(env.arch).lookup("progress").usage)
	registerValues(verb, "format", cobra.FixedCompletions([]string{"raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi"},
		cobra.ShellCompDirectiveNoFileComp))
	verb.PreRunE = func(cmd *cobra.Command, args []string) error {
		b.images = args
		if dash := cmd.ArgsLenAtDash(); dash >= 0 {
			b.images, b.machine.Args = args[:dash], args[dash:]
		}
		b.machine.Graphics = !serial && !b.test && !b.ssh && env.hasDisplay()
		return b.check()
	}
	return verb
}

// check validates the options before anything starts.
func (b *bootCall) check() error {
	for _, firmware := range b.firmwares {
		if !slices.Contains(vm.Firmwares(), firmware) {
			return usageErrorf("--firmware: unknown firmware %q; want %s", firmware, strings.Join(vm.Firmwares(), ", "))
		}
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
	if b.ssh && slices.Contains(b.kinds(), vm.UBoot) {
		return usageErrorf("--ssh: systemd gets no key from U-Boot: use --firmware uefi, or a key in the image (--ssh-key)")
	}
	user, password, _ := strings.Cut(b.login, ":")
	password, err := b.secretsFrom.read(password)
	if err != nil {
		return &builder.Problem{Flag: "--login", Err: err}
	}
	b.user, b.password = user, password
	if b.luks != "" {
		if !b.test && !b.ssh {
			return usageErrorf("--luks-passphrase needs --test or --ssh; without them, the machine's console asks for it")
		}
		if b.passphrase, err = b.secretsFrom.passphrase(b.luks); err != nil {
			return fmt.Errorf("--luks-passphrase: %w", err)
		}
	}
	if err := b.checkTest(); err != nil {
		return err
	}
	return checkProgress(b.env.displayOptions(b.progress, b.out, b.err))
}

// checkTest validates what is for --test only.
func (b *bootCall) checkTest() (err error) {
	switch {
	case len(b.images) == 0:
		return usageErrorf("IMAGE is missing")
	case b.jobs < 0:
		return usageErrorf("--jobs: %d is no number of machines", b.jobs)
	case b.test:
	case b.login != "" || b.json || b.junit != "" || b.page != "":
		return usageErrorf("--login, --json, --junit and --report need --test")
	case b.screenshots != "" || b.jobs != 0:
		return usageErrorf("--screenshots and --jobs need --test")
	case len(b.images) > 1 || len(b.firmwares) > 1:
		return usageErrorf("several images or kinds of firmware need --test")
	}
	if b.page != "" && len(b.images) > 1 {
		return usageErrorf("--report takes one image")
	}
	if b.screenshots != "" {
		if info, err := os.Stat(absolute(b.env.dir, b.screenshots)); err != nil || !info.IsDir() {
			return fmt.Errorf("--screenshots: %s is no directory that exists: make it first", b.screenshots)
		}
	}
	if b.checksFile == "" {
		return nil
	}
	if b.login == "" {
		return usageErrorf("--checks needs --login")
	}
	if b.checks, err = readChecks(absolute(b.env.dir, b.checksFile)); err != nil {
		return &builder.Problem{Flag: "--checks", Err: err}
	}
	return nil
}

func (b *bootCall) boot(ctx context.Context) error {
	if b.test {
		return missingProgram("start the machine", b.testAll(ctx))
	}
	one, err := b.of(b.images[0], b.kinds()[0])
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", tempPattern)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err = one.prepare(ctx, dir); err == nil {
		if one.ssh {
			err = one.connect(ctx, dir)
		} else {
			err = one.use(ctx, dir)
		}
	}
	return missingProgram("start the machine", err)
}

// tempPattern is for the names of temporary directories.
const tempPattern = "vmdebootstrap-boot-"

// kinds returns the kinds of firmware to boot with.
func (b *bootCall) kinds() []vm.Firmware {
	var kinds []vm.Firmware
	for _, firmware := range b.firmwares {
		kinds = append(kinds, vm.Firmware(firmware))
	}
	if len(kinds) == 0 {
		kinds = []vm.Firmware{vm.DefaultFirmware(b.machine.Arch)}
	}
	return kinds
}

// of returns a copy of the call that boots one image with one kind of firmware.
func (b bootCall) of(image string, firmware vm.Firmware) (*bootCall, error) {
	b.image, b.firmware = absolute(b.env.dir, image), firmware
	kind, iso, err := imageFormat(b.image)
	if err != nil {
		return nil, &inputError{err: err}
	}
	m := &b.machine
	m.CD = b.media == mediaCD || b.media == "" && iso
	m.Image, m.Firmware, m.Network = b.image, firmware, b.network
	if m.Format == "" {
		m.Format = kind
	}
	m.Memory = int(b.memory / diskimage.MiB)
	if m.Accel = b.accel; b.accel == "" {
		m.Accel = vm.HostAccel(b.env.arch, m.Arch)
	}
	m.Snapshot = m.Snapshot || b.test || b.ssh
	return &b, nil
}

// prepare makes the machine fit for the image. dir is for temporary files.
func (b *bootCall) prepare(ctx context.Context, dir string) error {
	err := b.inspect(ctx, dir)
	if err == nil && b.ssh {
		err = b.prepareSSH(ctx, dir)
	}
	if err == nil && b.verbose {
		err = b.showCommand(dir)
	}
	return err
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

// kvmSilence is far longer than a boot loader waits plus what a Debian kernel needs under KVM to print its first line.
const kvmSilence = 30 * time.Second

// start starts the machine; show is called with the last line of its console. Without --accel it falls back to software
// emulation if no kernel starts, and says so on stderr.
func (b *bootCall) start(ctx context.Context, dir string, stderr io.Writer, show func(lastLine string)) (
	machine *vm.VM, err error,
) {
	if b.accel != "" || b.machine.Accel == vm.Software {
		machine, err = vm.Start(ctx, b.machine, dir)
	} else {
		var fellBack bool
		machine, fellBack, err = vm.StartAccelerated(ctx, b.machine, dir, kvmSilence)
		if fellBack {
			fmt.Fprintf(stderr, "no output for %s under KVM: started again without it\n", kvmSilence)
		}
	}
	if err != nil {
		return nil, err
	}
	machine.Progress = show
	return machine, nil
}

// mediaWords are the values of --media.
var mediaWords = []string{mediaCD, "disk"}

const mediaCD = "cd"

// imageFormat detects the format of an image, and returns QEMU's name of it. iso reports whether it is one of a CD: it
// begins with an ISO 9660 file system.
func imageFormat(name string) (kind string, iso bool, err error) {
	f, err := diskimage.OpenImage(name)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	switch _, err := io.ReadFull(f, make([]byte, diskimage.SectorSize)); {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "", false, fmt.Errorf("%s is not a disk image: it is shorter than a sector of a disk", name)
	case err != nil:
		return "", false, fmt.Errorf("%s: %w", name, err)
	}
	if kind, err = format.Detect(f); err != nil {
		return "", false, fmt.Errorf("%s: %w", name, err)
	}
	if kind == "vhd" {
		kind = "vpc"
	}
	return kind, kind == format.Raw && iso9660.Detect(f), nil
}
