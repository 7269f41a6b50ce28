// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"slices"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Options is what the user asked for: one field per setting of the manual, gaps and all. The zero value of a field
// with a default of its own is filled in by DefaultOptions, not here.
type Options struct {
	// Outputs.
	Image    string         // --image FILE
	Size     diskimage.Size // --size
	SizeAuto bool           // --size auto: Size does not matter
	Free     Space          // --free
	Formats  []string       // --format, each value a list with commas
	Compress string         // --compress
	Bmap     bool           // --bmap
	Tarball  string         // --tarball FILE, or StandardOutput
	Squash   string         // --squash DIR
	ISO      string         // --iso FILE
	Exports  []Export       // --export DEST
	// ISOLabel is a volume ID; empty: vendor, codename and architecture.
	ISOLabel       string // --iso-label
	ISOPersistence bool   // --iso-persistence
	// ExportCompression is METHOD or METHOD:LEVEL; empty is gzip.
	ExportCompression string // --export-compression
	TLSVerify         bool   // --tls-verify
	ConvertQcow2      bool   // --convert-qcow2
	Sparse            bool   // --sparse
	Pkglist           bool   // --pkglist
	Manifest          string // --manifest FILE
	SBOMs             []SBOM // --sbom FORMAT:FILE
	LockFile          string // --lock-file FILE
	Report            string // --report FILE
	Provenance        string // --provenance FILE
	Owner             string // --owner USER

	// Where the packages come from and which.
	Mirror             secret.URL   // --mirror URL; empty: HostMirror
	OtherMirrors       []secret.URL // further URLs of --mirror, which are asked when Mirror fails
	AptMirror          secret.URL   // --apt-mirror URL
	ToolsMirror        secret.URL   // --tools-mirror URL; empty: Mirror, then HostMirror
	ConfigureApt       bool         // --configure-apt
	Pockets            []string     // --pockets, each value a list with commas; empty: those of HostMirror
	SecurityMirror     secret.URL   // --security-mirror URL
	Repositories       []Repository // --repository
	RepositoryKeys     []string     // --repository-key FILE
	Snapshot           time.Time    // --snapshot DATE
	SnapshotMirror     secret.URL   // --snapshot-mirror URL; empty: Debian's
	AptPreferences     string       // --apt-preferences FILE
	AllowExpired       bool         // --allow-expired
	CA                 string       // --ca FILE
	Arch               string       // --arch; Debian name
	DpkgArches         []string     // --dpkg-arch, each value a list with commas
	Distribution       string       // --distribution; suite or codename
	Debootstrapopts    []string     // --debootstrapopts, each value as given
	DebootstrapScripts string       // --debootstrap-scripts DIR
	Bootstrap          string       // --bootstrap; a word of BootstrapWords, empty: the first
	Packages           []string     // --package
	CustomPackages     []string     // --custom-package, paths of .deb files
	Recommends         bool         // --recommends
	KeepIdentity       bool         // --keep-identity
	NoKernel           bool         // --no-kernel
	KernelPackage      string       // --kernel-package
	NoAcpid            bool         // --no-acpid
	Sudo               bool         // --sudo
	Foreign            string       // --foreign PATH

	// What is set up in the root file system.
	Hostname             string           // --hostname
	RootPassword         secret.Text      // --root-password
	LockRootPassword     bool             // --lock-root-password
	Users                []step.User      // --user NAME[/PASSWORD]
	Actions              []Action         // --customize, --run, --copy-in, --containerfile, --hook, in their order
	BuildArgs            []string         // --build-arg NAME=VALUE
	BuildSecrets         []BuildSecret    // --secret
	PasswordHashes       []PasswordHash   // --password-hash USER:HASH
	SSHKeys              []string         // --ssh-key FILE
	AuthorizedKeys       []AuthorizedKeys // --authorized-keys USER:FILE
	Timezone             string           // --timezone
	Locale               string           // --locale
	Keymap               string           // --keymap LAYOUT[:VARIANT]
	CloudInit            bool             // --cloud-init
	UserData             string           // --user-data FILE
	MetaData             string           // --meta-data FILE
	NetworkConfig        string           // --network-config FILE
	EnableDHCP           bool             // --enable-dhcp
	SystemdNetworkd      bool             // --systemd-networkd
	UpdateInitramfs      bool             // --update-initramfs
	SerialConsole        bool             // --serial-console
	SerialConsoleCommand string           // --serial-console-command

	// Disk layout and boot loader.
	Bootsize   diskimage.Size // --bootsize
	Boottype   string         // --boottype
	BootMount  string         // --boot-mount
	Bootflag   string         // --bootflag
	Bootoffset diskimage.Size // --bootoffset
	Roottype   string         // --roottype
	PartType   string         // --part-type
	Swap       diskimage.Size // --swap
	UseUEFI    bool           // --use-uefi
	ESPSize    diskimage.Size // --esp-size
	Extlinux   bool           // --extlinux
	MBR        bool           // --mbr
	Grub       bool           // --grub
	Boot       string         // --boot LOADER: bootWords; empty: Extlinux, Grub and UseUEFI choose
	DTB        string         // --dtb NAME, or file:FILE
	SectorSize diskimage.Size // --sector-size
	Grow       bool           // --grow
	Blobs      []Blob         // --raw

	Verity         bool        // --verity
	SecureBootKey  secret.Text // --secureboot-key: what is in the file
	SecureBootCert string      // --secureboot-cert: what is in the file

	AB           string // --ab SOURCE: a URL or a directory of the machine
	ABKey        string // --ab-key FILE
	ABArtifacts  string // --ab-artifacts DIR
	ImageVersion string // --image-version

	LUKS            bool        // --luks
	LUKSPassphrase  secret.Text // --luks-passphrase
	LUKSKeyFile     secret.Text // --luks-key-file: what is in the file
	LUKSRecoveryKey secret.Text // --luks-recovery-key
	LUKSTPM2        bool        // --luks-tpm2

	DryRun bool // --dry-run: check and print
}

// defaultESPSize is a default that rules compare with.
const defaultESPSize = 5 * diskimage.MiB

// defaultFree is the free space of --size=auto.
var defaultFree = Space{Percent: 25}

// DefaultOptions returns the settings of a call without any option, as the manual lists them. Mirror and Arch stay
// empty: NewSpec takes them from the World.
func DefaultOptions() Options {
	return Options{
		Size:                 1 * diskimage.GB,
		Distribution:         "stable",
		DebootstrapScripts:   step.DefaultScripts,
		Hostname:             "debian",
		SystemdNetworkd:      true,
		UpdateInitramfs:      true,
		SerialConsoleCommand: "/sbin/getty -L ttyS0 115200 vt100",
		Boottype:             "ext2",
		BootMount:            boot.DefaultMount,
		Roottype:             "ext4",
		PartType:             "msdos",
		ESPSize:              defaultESPSize,
		Extlinux:             true,
		MBR:                  true,
		Free:                 defaultFree,
		SectorSize:           diskimage.SectorSize,
		TLSVerify:            true,
	}
}

// clone returns a copy that shares no memory with o.
func (o Options) clone() Options {
	o.Exports = slices.Clone(o.Exports)
	o.OtherMirrors = slices.Clone(o.OtherMirrors)
	o.Debootstrapopts = slices.Clone(o.Debootstrapopts)
	o.Packages = slices.Clone(o.Packages)
	o.DpkgArches = slices.Clone(o.DpkgArches)
	o.Pockets = slices.Clone(o.Pockets)
	o.Repositories = slices.Clone(o.Repositories)
	o.RepositoryKeys = slices.Clone(o.RepositoryKeys)
	o.CustomPackages = slices.Clone(o.CustomPackages)
	o.Users = slices.Clone(o.Users)
	o.PasswordHashes = slices.Clone(o.PasswordHashes)
	o.SSHKeys, o.AuthorizedKeys = slices.Clone(o.SSHKeys), slices.Clone(o.AuthorizedKeys)
	o.Actions = slices.Clone(o.Actions)
	o.BuildArgs, o.BuildSecrets = slices.Clone(o.BuildArgs), slices.Clone(o.BuildSecrets)
	o.Formats = slices.Clone(o.Formats)
	o.Blobs = slices.Clone(o.Blobs)
	o.SBOMs = slices.Clone(o.SBOMs)
	return o
}
