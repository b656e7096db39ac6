;;; treadle.el --- Threads of coding agents, live  -*- lexical-binding: t; -*-

;; Package-Requires: ((emacs "28.1"))

;;; Commentary:

;; Choose a thread and an agent, send prompts, follow the work live.  A starting point for your own package.

;;; Code:

(require 'diff-mode)
(require 'treadle-client)

(defvar treadle--index nil "The view of all projects and threads.")
(defvar-local treadle--view nil "The view that this buffer shows.")

(define-derived-mode treadle-thread-mode special-mode "Thread"
  "A live view of a thread."
  (add-hook 'kill-buffer-hook (lambda () (treadle-unfollow treadle--view)) nil t))

(pcase-dolist (`(,key . ,command) '(("a" . treadle-agent) ("s" . treadle-send) ("t" . treadle-steer) ("i" . treadle-interrupt)
                                     ("y" . treadle-approve) ("r" . treadle-resume)
                                     ("d" . treadle-diff) ("u" . treadle-undo)))
  (define-key treadle-thread-mode-map key command))

(defun treadle--threads ()
  "All threads, newest first."
  (unless (and treadle--index (not (treadle-view-ended treadle--index)))
    (setq treadle--index nil)
    (let (failed)
      (treadle-follow "index" nil (lambda (view) (setq treadle--index view)) (lambda (err) (setq failed err)))
      (while (not (or treadle--index failed)) (accept-process-output nil 1))
      (when failed (user-error "Treadle: %s" (plist-get failed :message)))))
  (sort (cl-loop for (kind . value) in (treadle-view-entities treadle--index)
                 when (equal kind "thread") collect value)
        (lambda (a b) (> (plist-get a :version) (plist-get b :version)))))

(defun treadle-pick ()
  "Let the user choose a thread, and show it."
  (interactive)
  (let (names)
    (dolist (thread (treadle--threads))
      (let ((name (format "%s [%s]" (plist-get thread :title) (plist-get thread :status))))
        (while (assoc name names) (setq name (concat name "*"))) ; names must be unique
        (push (cons name (plist-get thread :id)) names)))
    (treadle-open (cdr (assoc (completing-read "Thread: " (reverse names) nil t) names)))))

(defun treadle--attached (message)
  "The content blocks of MESSAGE that are not text, such as images, as lines."
  (concat
   (when-let ((bytes (plist-get message :contentBytes))) (format "[%d bytes of content]\n" bytes))
   (mapconcat
    (lambda (block)
      (let ((uri (plist-get block :uri)))
        (if (equal (plist-get block :type) "text") ""
          (format "[%s%s]\n" (or (plist-get block :name) (plist-get block :mimeType) (plist-get block :type))
                  (if uri (concat ", " uri) "")))))
    (plist-get message :content) "")))

(defun treadle--ending (turn)
  "How TURN ended and why, on one line."
  (let ((by (plist-get turn :by)) (kind (plist-get turn :errorKind))
        (reason (or (plist-get turn :stopReason) (plist-get turn :reason) (plist-get turn :error))))
    (concat (plist-get turn :status) (when by (concat " by " by))
            (when reason (format " (%s%s)" (if kind (concat kind ": ") "") reason))
            (when (eq (plist-get turn :confirmed) :json-false) "; the agent did not confirm"))))

(defun treadle--line (kind value)
  "One entity of a turn: a VALUE of KIND."
  (let ((status (plist-get value :status)))
    (if (equal kind "message")
        (format "%s> %s%s\n%s" (plist-get value :role) (plist-get value :text) (if (equal status "streaming") "▌" "")
                (treadle--attached value))
      (format "* %s [%s]\n" (or (plist-get value :title) (plist-get value :message))
              (or (plist-get value :outcome) status (plist-get value :gitRef))))))

(defun treadle--text (view)
  "The thread of VIEW as text."
  (let ((entities (treadle-view-entities view))
        (thread (cdr (gethash (cons "thread" (treadle-view-thread view)) (treadle-view-found view)))))
    (concat
     (if (not thread) "(deleted)\n"
       (format "# %s%s [%s]\n" (plist-get thread :title)
               (if-let ((agent (plist-get thread :agent))) (format " (%s)" (plist-get agent :name)) "")
               (plist-get thread :status)))
     (cl-loop for (kind . turn) in entities when (equal kind "turn")
              concat (cl-loop for (kind . value) in entities
                              when (equal (plist-get value :turnId) (plist-get turn :id))
                              concat (treadle--line kind value))
              and concat (format "-- %s\n" (treadle--ending turn)))
     (cl-loop for prompt in (sort (cl-loop for (kind . value) in entities when (equal kind "prompt") collect value)
                                  (lambda (a b) (< (plist-get a :position) (plist-get b :position))))
              concat (format "%s> %s\n" (if (equal (plist-get prompt :when) "steer") "steer" "queued")
                             (plist-get prompt :text)))
     (when-let ((reason (plist-get thread :queuePaused))) (format "|| paused: %s\n" reason))
     (when (treadle-view-ended view) (format "!! %s\n" (treadle-view-ended view))))))

(defun treadle-open (thread)
  "Show the thread with the id THREAD and update it live."
  (let ((buffer (get-buffer-create (format "*treadle %s*" thread))))
    (pop-to-buffer buffer)
    (unless (and treadle--view (not (treadle-view-ended treadle--view)))
      (treadle-thread-mode)
      (treadle-follow
       "thread" thread
       (lambda (view)
         (if (not (buffer-live-p buffer))
             (treadle-unfollow view)
           (with-current-buffer buffer
             (let ((inhibit-read-only t) (at-end (eobp)) (place (point)))
               (setq treadle--view view)
               (erase-buffer)
               (insert (treadle--text view))
               (unless at-end (goto-char place))))))))))

(defun treadle-dispatch (type &rest fields)
  "Send the command TYPE with its FIELDS for the thread of this buffer."
  (let ((thread (treadle-view-thread treadle--view)))
    (treadle-call 'command/dispatch `(:type ,type :threadId ,thread ,@fields))))

(defun treadle-new (title)
  "Create a thread with TITLE in the project of this folder, and show it."
  (interactive "sTitle: ")
  (let* ((path (directory-file-name (expand-file-name default-directory)))
         (project (plist-get (treadle-call 'project/open (list :path path)) :project))
         (command (list :type "CreateThread" :projectId (plist-get project :id) :title title))
         (events (plist-get (treadle-call 'command/dispatch command) :events)))
    (treadle-open (plist-get (plist-get (aref events 0) :event) :threadId))))

(defun treadle-agent ()
  "Let the user choose the agent of this buffer's thread."
  (interactive)
  (let ((names (mapcar (lambda (one) (plist-get one :name)) (plist-get (treadle-call 'agent/list nil) :agents))))
    (treadle-dispatch "AssignAgent" :agent (completing-read "Agent: " names nil t))))

(defun treadle-send (text)
  "Queue TEXT as a prompt.  It is sent once the turn before has ended."
  (interactive "sPrompt: ")
  (treadle-dispatch "QueuePrompt" :text text))

(defun treadle-steer (text)
  "Send TEXT into the running turn."
  (interactive "sSteer: ")
  (treadle-dispatch "QueuePrompt" :text text :when "steer"))

(defun treadle-approve ()
  "Answer the oldest question of the agent."
  (interactive)
  (when-let ((approval (cl-loop for (kind . value) in (treadle-view-entities treadle--view)
                                when (and (equal kind "approval") (equal (plist-get value :status) "pending"))
                                return value)))
    (let* ((names (mapcar (lambda (option) (cons (plist-get option :name) (plist-get option :id)))
                          (plist-get approval :options)))
           (name (completing-read (concat (plist-get approval :title) ": ") names nil t)))
      (treadle-dispatch "ResolveApproval" :id (plist-get approval :id) :outcome (cdr (assoc name names))))))

(defun treadle--checkpoints ()
  "The ids of the checkpoints around the last turn that has one before it.
While it runs, there is none after it."
  (let (before after)
    (cl-loop for (kind . value) in (treadle-view-entities treadle--view) when (equal kind "checkpoint")
             do (pcase (plist-get value :phase)
                  ("before" (setq before value))
                  ("after" (setq after value))))
    (unless before (user-error "Treadle: no turn has a checkpoint"))
    (cons (plist-get before :id)
          (when (equal (plist-get before :turnId) (plist-get after :turnId)) (plist-get after :id)))))

(defun treadle-diff ()
  "Show what the last turn changed in the files."
  (interactive)
  (pcase-let ((`(,before . ,after) (treadle--checkpoints)) (view treadle--view) (cursor nil) (pages nil) (more t))
    (while more
      (let ((page (treadle-call 'checkpoint/diff
                                `(:threadId ,(treadle-view-thread view) :from ,before :patches t
                                  ,@(when after `(:to ,after)) ,@(when cursor `(:cursor ,cursor))))))
        (push (mapconcat (lambda (file) (concat (plist-get file :patch) (if (eq (plist-get file :cut) t) "(cut)\n" "")))
                         (plist-get page :files) "")
              pages)
        (setq cursor (plist-get page :nextCursor) more cursor)))
    (pop-to-buffer (get-buffer-create (format "*treadle diff %s*" (treadle-view-thread view))))
    (let ((inhibit-read-only t) (text (string-join (reverse pages))))
      (erase-buffer)
      (insert (if (string-empty-p text) "(nothing was changed)\n" text))
      (goto-char (point-min)))
    (diff-mode)
    (setq buffer-read-only t treadle--view view)))

(defun treadle-undo (&optional checkpoint)
  "Put the files back to what they were before the last turn, after asking.
With a prefix argument, read the id of a CHECKPOINT to put them back to."
  (interactive (list (when current-prefix-arg (read-string "Checkpoint: "))))
  (let* ((id (or checkpoint (car (treadle--checkpoints))))
         (asked (list :threadId (treadle-view-thread treadle--view) :id id))
         (plan (treadle-call 'checkpoint/restore `(,@asked :dryRun t))))
    (when (yes-or-no-p (format "Write [%s], remove [%s]? " (string-join (plist-get plan :written) ", ")
                               (string-join (plist-get plan :removed) ", ")))
      (let ((done (treadle-call 'checkpoint/restore asked)))
        (message "treadle: C-u M-x treadle-undo %s undoes this" (plist-get done :before))))))

(defun treadle-interrupt ()
  "Interrupt the running turn, which pauses the queue."
  (interactive)
  (treadle-dispatch "InterruptTurn" :by "user"))

(defun treadle-resume ()
  "Send the queued prompts again after an interruption or a failure."
  (interactive)
  (treadle-dispatch "ResumeQueue"))

(provide 'treadle)
;;; treadle.el ends here
