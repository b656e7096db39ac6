;;; treadle.el --- Threads of coding agents, live  -*- lexical-binding: t; -*-

;; Package-Requires: ((emacs "28.1"))

;;; Commentary:

;; Choose a thread, follow it live in a buffer, send a prompt.  A starting point for your own package.

;;; Code:

(require 'treadle-client)

(defvar treadle--index nil "The view of all projects and threads.")
(defvar-local treadle--view nil "The view that this buffer shows.")

(define-derived-mode treadle-thread-mode special-mode "Thread"
  "A live view of a thread."
  (add-hook 'kill-buffer-hook (lambda () (treadle-unfollow treadle--view)) nil t))

(define-key treadle-thread-mode-map "s" #'treadle-send)
(define-key treadle-thread-mode-map "i" #'treadle-interrupt)

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
     (if thread (format "# %s [%s]\n" (plist-get thread :title) (plist-get thread :status)) "(deleted)\n")
     (cl-loop for (kind . turn) in entities when (equal kind "turn")
              concat (cl-loop for (kind . value) in entities
                              when (equal (plist-get value :turnId) (plist-get turn :id))
                              concat (treadle--line kind value))
              and concat (format "-- %s\n" (treadle--ending turn)))
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
  "Send the command TYPE with its FIELDS and return the resulting events."
  (plist-get (treadle-call 'command/dispatch (append (list :type type) fields)) :events))

(defun treadle-new (title)
  "Create a thread with TITLE in the project of this folder, and show it."
  (interactive "sTitle: ")
  (let* ((path (directory-file-name (expand-file-name default-directory)))
         (project (plist-get (treadle-call 'project/open (list :path path)) :project))
         (events (treadle-dispatch "CreateThread" :projectId (plist-get project :id) :title title)))
    (treadle-open (plist-get (plist-get (aref events 0) :event) :threadId))))

(defun treadle-send (prompt)
  "Send PROMPT to the thread of this buffer, which starts a turn."
  (interactive "sPrompt: ")
  (treadle-dispatch "StartTurn" :threadId (treadle-view-thread treadle--view) :prompt prompt))

(defun treadle-interrupt ()
  "Interrupt the running turn of this buffer's thread."
  (interactive)
  (treadle-dispatch "InterruptTurn" :threadId (treadle-view-thread treadle--view) :reason "the user"))

(provide 'treadle)
;;; treadle.el ends here
