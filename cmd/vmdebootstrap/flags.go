// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/usage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// setting is one thing that can be chosen on the command line and in config files. Its name is that of the
// option, without the dashes, and the key in config files.
type setting struct {
	name  string
	group group
	usage string // the help text; the word in backquotes is a placeholder for the value
	value value
}

// group is a heading of the help text.
type group string

const (
	groupOutput  group = "Output"
	groupSource  group = "Packages"
	groupSystem  group = "System"
	groupDisk    group = "Disk and boot loader"
	groupProgram group = "Program"
	groupLog     group = "Logging"
	groupOld     group = "Without effect, for old scripts"
	groupFiles   group = "Image files"
	groupOther   group = "Other" // what is no setting
)

// groups is the order of the headings.
var groups = []group{groupOutput, groupSource, groupSystem, groupDisk, groupProgram, groupLog, groupOld, groupFiles,
	groupOther}

// settings holds everything that a call can set, and the variables that hold the values.
type settings struct {
	options builder.Options
	verbose bool
	// progress is one of display.Modes.
	progress string
	output   string
	log      logSettings
	// buildSecrets say where the secrets of --secret are; these are read once all settings are known.
	buildSecrets []string
	// rootPasswordFile is read once all settings are known.
	rootPasswordFile string
	secrets          secretSource
	// luks says where the keys of --luks are; these are read once all settings are known.
	luks luksSettings
	// secureBoot are files that are read once all settings are known.
	secureBoot secureBootSettings

	// Where results are cached, and how they are reused.
	stateDir            string
	isolation           oci.Isolation
	cache, explainCache bool
	debugShell          bool
	cacheLimit          diskimage.Size
	cacheFrom, cacheTo  []builder.Remote
	// cacheKey is a file name. The file is read into key once all settings are known.
	cacheKey string
	key      *builder.CacheKey
	// signKeyFile is the file of signKey, which signs the statement of --provenance.
	signKeyFile string
	signKey     *builder.CacheKey
	// locked is the lock that the build follows; nil for none.
	locked *lockfile.File

	memoryProfile  string
	memoryInterval int

	// all is in the order of --dump-config; the first manual of them are those of vmdebootstrap 1.7.
	all    []*setting
	manual int
	// words are the options of the call that set something, in their order.
	words []string
	// problems are values that could not be parsed. They are reported together with the problems that NewSpec finds.
	problems []error
}

// newSettings returns the settings of a call without options.
func newSettings(arch string) *settings {
	s := &settings{
		options:        builder.DefaultOptions(),
		progress:       display.Auto,
		log:            defaultLogSettings(),
		isolation:      oci.IsolationAuto,
		cache:          true,
		cacheLimit:     defaultCacheLimit,
		memoryProfile:  "simple",
		memoryInterval: 300,
	}
	o := &s.options
	o.Arch = arch
	s.all = []*setting{
		{"output", groupProgram, "write messages to `FILE` instead of standard output", textValue{&s.output}},
		{"log", groupLog, "write a log to `FILE`, or one of syslog, stderr, none", textValue{&s.log.destination}},
		{"log-level", groupLog, "lowest `LEVEL` to log: debug, info, warning, error, critical or fatal",
			choiceValue{&s.log.level, logLevelNames}},
		{"log-max", groupLog, "rotate the log file before it exceeds `SIZE` bytes; 0 means never (default 0)",
			sizeValue{&s.log.max}},
		{"log-keep", groupLog, "keep the last `N` log files, with the present one; 0 keeps all", countValue{&s.log.keep}},
		{"log-mode", groupLog, "create the log file with permissions `MODE`, in octal", modeValue{&s.log.mode}},
		{"dump-memory-profile", groupOld, "was the `METHOD` of memory profiles: none, simple, meliae or heapy",
			choiceValue{&s.memoryProfile, []string{"none", "simple", "meliae", "heapy"}}},
		{"memory-dump-interval", groupOld, "was the interval of memory profiles in `SECONDS`",
			countValue{&s.memoryInterval}},
		{"verbose", groupProgram, "report progress", boolValue{&s.verbose}},

		{"image", groupOutput, "write a disk image to `FILE`", textValue{&o.Image}},
		{"size", groupOutput, "make a disk image of `SIZE` bytes, or auto: see --free",
			autoSizeValue{sizeValue{&o.Size}, &o.SizeAuto}},
		{"bootsize", groupDisk, "make a /boot partition of `SIZE` bytes; 0 means none (default 0)",
			sizeValue{&o.Bootsize}},
		{"boottype", groupDisk, "file system `TYPE` of the /boot partition: " + strings.Join(builder.BootTypes(), ", "),
			textValue{&o.Boottype}},
		{"bootflag", groupDisk, "set `FLAG` on the partition that begins first on the disk, which with gpt and GRUB or UEFI " +
			"is number 14 or 15 (default none)", textValue{&o.Bootflag}},
		{"bootoffset", groupDisk, "leave `SIZE` bytes free before the first partition (default 0)",
			sizeValue{&o.Bootoffset}},
		{"use-uefi", groupDisk, "make the image boot with UEFI; needs --grub", boolValue{&o.UseUEFI}},
		{"esp-size", groupDisk,
			"make the EFI system partition `SIZE` bytes long, where 5MiB means the size that it needs (64MiB); " +
				"needs --use-uefi or --boot=hybrid",
			sizeValue{&o.ESPSize}},
		{"part-type", groupDisk, "`KIND` of partition table: msdos or gpt, where the BIOS boot partition of GRUB has number 14, the " +
			"EFI system partition 15, and the others 1 and so on, as in Debian's cloud images", textValue{&o.PartType}},
		{"roottype", groupDisk, "file system `TYPE` of the root partition: " + strings.Join(builder.RootTypes(), ", ") +
			"; with erofs and squashfs, changes are kept in memory", textValue{&o.Roottype}},
		{"swap", groupDisk, "make a swap partition of `SIZE` bytes, at least 256Mi; 0 means none (default 0)",
			sizeValue{&o.Swap}},
		{"foreign", groupSource,
			"emulate the architecture with the static qemu-user program at `PATH` (default: the one that fits, from Debian)",
			textValue{&o.Foreign}},
		{"debootstrapopts", groupSource,
			"pass `OPTIONS` to debootstrap, without their dashes and with spaces between " +
				"them; may be repeated", listValue{&o.Debootstrapopts}},
		{"debootstrap-scripts", groupSource, "use the release scripts for debootstrap in `DIRECTORY`",
			textValue{&o.DebootstrapScripts}},
		{"extlinux", groupDisk, "boot with extlinux, unless --grub", boolValue{&o.Extlinux}},
		{"tarball", groupOutput, "write the root file system to the tar archive `FILE`; - is standard output",
			textValue{&o.Tarball}},
		{"apt-mirror", groupSource, "mirror `URL` for the image's apt sources; needs --configure-apt",
			urlValue{&o.AptMirror}},
		{"mirror", groupSource, "download packages from `URL`, of http, https, file or copy (default: this machine's own " +
			"mirror, and for Ubuntu the archive that has the release); further URLs, after blanks, are asked when it fails", mirrorsValue{&o.Mirror, &o.OtherMirrors}},
		{"arch", groupSource, "install packages for `ARCHITECTURE`, as Debian calls it", textValue{&o.Arch}},
		{"distribution", groupSource, "install release `NAME` of Debian or Ubuntu", textValue{&o.Distribution}},
		{"package", groupSource, "install `PACKAGE`; may be repeated", listValue{&o.Packages}},
		{"custom-package", groupSource, "install the package in the local file `DEB`; may be repeated",
			listValue{&o.CustomPackages}},
		{"no-kernel", groupSource, "install no kernel", boolValue{&o.NoKernel}},
		{"kernel-package", groupSource,
			"install `PACKAGE` as the kernel (default: the one for release and architecture)",
			textValue{&o.KernelPackage}},
		{"enable-dhcp", groupSystem, "configure eth0 by DHCP where ifupdown is used", boolValue{&o.EnableDHCP}},
		{"root-password", groupSystem, "set root's `PASSWORD` (default empty: anyone can log in)",
			secretValue{&o.RootPassword}},
		{"lock-root-password", groupSystem, "lock root's password, so that nobody can log in with it",
			boolValue{&o.LockRootPassword}},
		{"customize", groupSystem,
			"run `SCRIPT` when the system is set up, with its root directory and the image's name " +
				"as arguments; may be repeated", actionsValue{&o.Actions, "--customize"}},
		{"hostname", groupSystem, "set the host name to `NAME`", textValue{&o.Hostname}},
		{"user", groupSystem, "add the user `NAME[/PASSWORD]`; may be repeated", usersValue{&o.Users}},
		{"serial-console", groupSystem, "use a serial console", boolValue{&o.SerialConsole}},
		{"serial-console-command", groupSystem, "`COMMAND` for the serial console in /etc/inittab (wheezy only)",
			textValue{&o.SerialConsoleCommand}},
		{"sudo", groupSystem, "install sudo and allow the users to use it", boolValue{&o.Sudo}},
		{"owner", groupOutput, "make `USER` the owner of the outputs (default: the user who builds)",
			textValue{&o.Owner}},
		{"squash", groupOutput,
			"write the root file system to `DIRECTORY` as filesystem.squashfs, with the files of /boot " +
				"beside it; $GOMAXPROCS limits the threads that compress it (default: one for each processor)",
			textValue{&o.Squash}},
		{"configure-apt", groupSource, "rewrite the image's apt sources for mirror and release",
			boolValue{&o.ConfigureApt}},
		{"mbr", groupDisk, "write the boot code of extlinux to the master boot record", boolValue{&o.MBR}},
		{"grub", groupDisk, "boot with GRUB", boolValue{&o.Grub}},
		{"sparse", groupOutput,
			"no longer has an effect: free space of an image is always left unwritten",
			boolValue{&o.Sparse}},
		{"pkglist", groupOutput, "list the installed packages in dpkg.list", boolValue{&o.Pkglist}},
		{"no-acpid", groupSource, "do not install acpid", boolValue{&o.NoAcpid}},
		{"update-initramfs", groupSystem, "rebuild the initramfs after all other steps",
			boolValue{&o.UpdateInitramfs}},
		{"convert-qcow2", groupOutput, "write the image as qcow2 instead of raw", boolValue{&o.ConvertQcow2}},
		{"systemd-networkd", groupSystem,
			"configure the network with systemd-networkd, with predictable interface names",
			boolValue{&o.SystemdNetworkd}},
		{"dry-run", groupProgram, "check the settings, print packages and plan, and build nothing",
			boolValue{&o.DryRun}},
	}
	s.manual = len(s.all)
	s.all = append(s.all, s.extensions()...)
	return s
}

// lookup returns the setting of that name, nil if there is none.
func (s *settings) lookup(name string) *setting {
	i := slices.IndexFunc(s.all, func(t *setting) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// names returns the name of each setting.
func (s *settings) names() []string {
	names := make([]string, len(s.all))
	for i, t := range s.all {
		names[i] = t.name
	}
	return names
}

// addFlags adds an option for each setting, and a second one for the opposite of each that is on or off.
func (s *settings) addFlags(flags *pflag.FlagSet) {
	for i, t := range s.all {
		on, isBool := t.value.(boolValue)
		flag := flags.VarPF(flagValue{t.value, "--" + t.name, s}, t.name, "", t.usage)
		flag.Annotations = map[string][]string{usage.Group: {string(t.group)}}
		if i >= s.manual {
			flag.Annotations[extension] = nil
		}
		if !isBool {
			continue
		}
		flag.NoOptDefVal = "true"
		name := oppositeName(t.name)
		opposite := flags.VarPF(flagValue{oppositeValue{on}, "--" + name, s}, name, "", "opposite of --"+t.name)
		opposite.NoOptDefVal, opposite.Hidden, opposite.Annotations = "true", true, flag.Annotations
	}
}

// oppositeName returns no-X for X, also for names that begin with no- themselves: --no-no-kernel.
func oppositeName(name string) string { return "no-" + name }

// flagValue is a value that an option sets.
type flagValue struct {
	value
	flag string
	s    *settings
}

// Set adds the error of a value that cannot be parsed to the problems. Only a mistake of grammar ends the call at once.
func (v flagValue) Set(text string) error {
	v.s.words = append(v.s.words, optionWord(v.flag, v.value, text))
	err := v.value.Set(text)
	if err == nil || errors.Is(err, errChoice) {
		return err
	}
	v.s.problems = append(v.s.problems, &builder.Problem{Flag: v.flag, Err: err})
	return nil
}

// optionWord returns the word of a command line that sets a value.
func optionWord(flag string, v value, text string) string {
	switch v.(type) {
	case boolValue, oppositeValue:
		return flag
	}
	return flag + "=" + text
}

// given reports whether the command line has the option or its opposite.
func given(flags *pflag.FlagSet, name string) bool {
	opposite := flags.Lookup(oppositeName(name))
	return flags.Changed(name) || opposite != nil && opposite.Changed
}
