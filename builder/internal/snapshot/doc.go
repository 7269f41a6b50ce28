// Package snapshot keeps what the steps of a build have made, and finds it again.
//
// A build is a chain of steps. Each has an Entry with a digest of all that its result depends on: the digest of the
// entry before it, the data of the step, a hash of its secrets, and, for a hook or a command of the user's, what it can
// see of the host (its view) and what it was seen to open there (its observation). Snapshots of a root file system are
// named after the digest of their last entry and labelled with the whole chain.
//
// Store.Begin finds the longest chain of a build's steps that a snapshot holds, in the local store or at a place of
// --cache-from. Store.Resume makes a Chain of it: Chain.Run runs the steps that remain and keeps their results,
// Chain.MakeOutputs does the same for files that a program makes of others, and Chain.Push puts the snapshots to the
// places of --cache-to. Whatever comes from such a place says so in its name and its labels (origins): only builds that
// name the place themselves use it.
//
// Of a step this package knows what Step and observable ask for, and of a plan nothing. LeastRecentlyUsed says which
// snapshots to remove first. contrib/design/cache.md tells what can be an input, and who would notice.
package snapshot
