// SPDX-License-Identifier: Apache-2.0

// Package oci makes and runs containers for a build, with or without root, and keeps their file systems as layers.
//
// # The place where containers can be made
//
// A process becomes able to make containers by starting itself again: Reexec runs the very same program with the same
// arguments in new namespaces, where it is uid 0, sees only its own processes and can mount without the host noticing.
// An ordinary user gets a user namespace with the subordinate ids of /etc/subuid and /etc/subgid; root needs none.
// Everything that is made there, processes and mounts alike, ends with that process, and that process ends with the
// one which started it, even by kill -9. A program that uses this package therefore begins like so:
//
//	func main() {
//		if oci.Init() {
//			return // this process was a helper and has done its work
//		}
//		if !oci.Inside() {
//			status, err := oci.Reexec(ctx, oci.ReexecConfig{Args: os.Args, Env: os.Environ(), ...})
//			...
//		}
//		engine, err := oci.Open(ctx, oci.EngineOptions{...})
//		...
//	}
//
// What a host lacks is found out by trying, and told as a HostError with the cause and a cure. Where a root
// may make no namespaces at all, in a container as Docker makes them by default, the isolation chroot does
// without: a Container works there as anywhere, as far as chroot(2) and copies can do what namespaces and
// mounts do (package internal/run).
//
// # Containers
//
// An Engine holds a store of layers (native overlay where it works, full copies by the driver "vfs" elsewhere). A
// Container is a writable layer, mounted at Root. Snapshot freezes that layer where it is, as an image with a name, and
// goes on in a new layer above; From starts a container on such an image.
//
// Container.Run runs a program with the container as its root directory and its own pid, mount, ipc and uts
// namespaces. The words are those of the OCI runtime specification, but the runner is our own: pid 1 is this program
// again, and no runc or crun is needed. A command costs some 15 ms instead of 150.
//
// Programs of another processor's architecture run under an emulator that Emulate names. Its entry in
// binfmt_misc is made anew for each run, in a user namespace inside ours, so that nothing is registered on
// the host. That needs Linux 6.7.
//
// Pid 1 of a container can answer system calls of its programs (seccomp_unotify(2), package supervise). Where
// there is one id, which is the isolation single, those are the calls about owners: whose a file should be is
// noted in an extended attribute, and programs see and change that as if it were so. contrib/design/owners.md
// tells how. For 32-bit programs under an emulator pid 1 reads directories: ext4 tells an emulator what they
// cannot hold.
//
// # What is not supported
//
// Containers share the host's network. There are no cgroups and no terminal inside, and seccomp protects nothing. Of
// specs.Process the fields Args, Env, Cwd and User are honoured, the others are refused. The isolation protects the
// host from accidents, not from an attacker: as root there is no user namespace in between. Kernel 5.12 or later is
// needed. One Run at a time and container.
package oci
